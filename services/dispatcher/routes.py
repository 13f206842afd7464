"""HTTP to requests and back: authentication, bodies, problem details; no rules of JMAP."""

import asyncio
import logging
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.dispatcher.processor import Caller, Processor
from services.dispatcher.sessions import Sessions
from shared.http.authentication import AuthenticationError, Authenticator, ScopeMissingError
from shared.http.problem_details import problem, problem_response
from shared.jmap.envelope import request_from_json
from shared.jmap.errors import RequestError, limit_exceeded, not_json
from shared.jmap.i_json import NotIJsonError, decode_i_json, encode_json
from shared.jmap.session import CoreLimits
from shared.runtime.clock import Clock
from shared.runtime.logs import correlated
from shared.store.credentials import Credential

_log = logging.getLogger(__name__)

_NO_CACHE = {"Cache-Control": "no-cache, no-store, must-revalidate"}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
_BODY_SECONDS_MAX = 60

Answer = Callable[[HttpRequest, Credential], Awaitable[Response]]


class Api:
    """The JMAP API's endpoints."""

    def __init__(
        self,
        authenticator: Authenticator,
        sessions: Sessions,
        processor: Processor,
        limits: CoreLimits,
        clock: Clock,
    ) -> None:
        self._authenticator = authenticator
        self._sessions = sessions
        self._processor = processor
        self._limits = limits
        self._clock = clock
        self._running: Counter[str] = Counter()  # requests in hand, by user

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/jmap", self._well_known),
            Route("/jmap/session", self._guarded(self._session)),
            Route("/jmap/api", self._guarded(self._api), methods=["POST"]),
        ]

    def _guarded(self, answer: Answer) -> Callable[[HttpRequest], Awaitable[Response]]:
        """Who is not known gets a 401, and what goes wrong a problem."""

        async def respond(http_request: HttpRequest) -> Response:
            request_id = secrets.token_hex(8)
            http_request.state.request_id = request_id
            with correlated(request_id=request_id):
                response = await self._respond(http_request, answer)
            response.headers["X-Request-Id"] = request_id
            return response

        return respond

    async def _respond(self, http_request: HttpRequest, answer: Answer) -> Response:
        try:
            header = http_request.headers.get("authorization")
            credential = await self._authenticator.authenticate(header)
            return await answer(http_request, credential)
        except (AuthenticationError, ScopeMissingError) as error:
            return error.response()
        except RequestError as error:
            return problem_response(error.problem(), error.http_status)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:  # noqa: BLE001 - a problem for the client, a stack trace for the log
            _log.exception("request_failed", extra={"path": http_request.url.path})
            return problem(500, "An error of the server; the log has it under X-Request-Id.")

    async def _well_known(self, _: HttpRequest) -> Response:
        return RedirectResponse("/jmap/session", 307, _NO_CACHE)

    async def _session(self, _: HttpRequest, credential: Credential) -> Response:
        session = await self._sessions.session_of(credential)
        return Response(session.body, headers=_NO_CACHE, media_type="application/json")

    async def _api(self, http_request: HttpRequest, credential: Credential) -> Response:
        requests_max = self._limits.max_concurrent_requests
        user_id = credential.user_id
        if self._running[user_id] >= requests_max:
            detail = f"{requests_max} requests of this user are being processed."
            raise limit_exceeded("maxConcurrentRequests", detail, http_status=429)
        self._running[user_id] += 1
        try:
            return await self._process(http_request, credential)
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]

    async def _process(self, http_request: HttpRequest, credential: Credential) -> Response:
        _require_json(http_request.headers.get("content-type", ""))
        body = await _body(http_request, self._limits.max_size_request)
        try:
            request = request_from_json(decode_i_json(body))
        except NotIJsonError as error:
            raise not_json(str(error)) from error
        session = await self._sessions.session_of(credential)
        traceparent = http_request.headers.get("traceparent", "")
        caller = Caller(
            user_id=credential.user_id,
            user_name=credential.user_name,
            accounts=session.accounts,
            session_state=session.state,
            request_id=http_request.state.request_id,
            traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else None,
        )
        response = await self._processor.process(request, caller, self._clock.now())
        return Response(encode_json(response), headers=_NO_CACHE, media_type="application/json")


def _require_json(content_type: str) -> None:
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if media_type.strip().lower() != "application/json" or charset not in ("", "charset=utf-8"):
        raise not_json("The content type must be application/json.", http_status=415)


async def _body(http_request: HttpRequest, bytes_max: int) -> bytes:
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
