"""HTTP to requests and back: session and API; no rules of JMAP."""

import asyncio
import functools

from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.dispatcher.guard import Guard, PerUser
from services.dispatcher.requests import Requests
from services.dispatcher.sessions import Sessions
from shared.jmap.errors import limit_exceeded, not_json
from shared.jmap.session import CoreLimits
from shared.store.credentials import Credential

_NO_CACHE = {"Cache-Control": "no-cache, no-store, must-revalidate"}
_ANSWER = {**_NO_CACHE, "Content-Language": "en"}  # of descriptions (RFC 8620 section 3.8)
_BODY_SECONDS_MAX = 60


class Api:
    """The JMAP API's endpoints."""

    def __init__(
        self,
        guard: Guard,
        sessions: Sessions,
        requests: Requests,
        limits: CoreLimits,
    ) -> None:
        self._guard = guard
        self._sessions = sessions
        self._requests = requests
        self._limits = limits
        self._running = PerUser("maxConcurrentRequests", limits.max_concurrent_requests)

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/jmap", _well_known),
            self._guard.route("/jmap/session", self._session, methods=["GET"]),
            self._guard.route("/jmap/api", self._api, methods=["POST"]),
        ]

    async def _session(self, http_request: HttpRequest, credential: Credential) -> Response:
        session = await self._sessions.session_of(credential)
        headers = {**_NO_CACHE, "ETag": f'"{session.state}"'}
        if headers["ETag"] in http_request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(session.body, headers=headers, media_type="application/json")

    async def _api(self, http_request: HttpRequest, credential: Credential) -> Response:
        with self._running.one(credential.user_id):
            return await self._process(http_request, credential)

    async def _process(self, http_request: HttpRequest, credential: Credential) -> Response:
        require_json(http_request.headers.get("content-type", ""))
        body = await read_body(http_request, self._limits.max_size_request)
        answered = await self._requests.answer(
            body,
            credential,
            request_id=http_request.state.request_id,
            trace=http_request.state.trace,
            gone=functools.partial(_gone, http_request),
        )
        http_request.state.facts["calls"] = answered.calls
        return Response(answered.body, headers=_ANSWER, media_type="application/json")


async def _well_known(_: HttpRequest) -> Response:
    headers = {**_NO_CACHE, "Access-Control-Allow-Origin": "*"}
    return RedirectResponse("/jmap/session", 307, headers)


async def _gone(http_request: HttpRequest) -> None:
    """Its body was read, so nothing else can come."""
    while (await http_request.receive())["type"] != "http.disconnect":
        pass


def require_json(content_type: str) -> None:
    """Raises RequestError (notJSON)."""
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise not_json("The content type must be application/json.", http_status=415)


async def read_body(http_request: HttpRequest, bytes_max: int) -> bytes:
    """Raises RequestError: limit, or notJSON when it does not arrive in time."""
    too_large = limit_exceeded(
        "maxSizeRequest", f"The request is larger than {bytes_max} octets.", http_status=413
    )
    if int(http_request.headers.get("content-length") or 0) > bytes_max:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS_MAX):
            async for chunk in http_request.stream():
                size += len(chunk)
                if size > bytes_max:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError as error:
        raise not_json("The body did not arrive in time.", http_status=408) from error
    return b"".join(chunks)
