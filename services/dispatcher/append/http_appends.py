"""`POST /tidings/append`: HTTP to append requests and back."""

from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from services.dispatcher.append.appends import AppendCall, Appends
from services.dispatcher.append.in_hand import InHand
from services.dispatcher.append.request import RequestLimits
from services.dispatcher.guard import Guard
from services.dispatcher.routes import read_body, require_json
from shared.http.problem_details import problem_response
from shared.jmap.i_json import encode_json
from shared.store.credentials import Credential

PATH = "/tidings/append"
SCOPE = "append"
_OK = 200


class HttpAppends:
    """The endpoint."""

    def __init__(
        self, guard: Guard, appends: Appends, in_hand: InHand, limits: RequestLimits
    ) -> None:
        self._guard = guard
        self._appends = appends
        self._in_hand = in_hand
        self._limits = limits

    def routes(self) -> list[Route]:
        return [self._guard.route(PATH, self._append, methods=["POST"], scope=SCOPE)]

    async def _append(self, http_request: HttpRequest, credential: Credential) -> Response:
        require_json(http_request.headers.get("content-type", ""))
        bytes_max = self._limits.max_size_request
        octets = min(int(http_request.headers.get("content-length") or bytes_max), bytes_max)
        with self._in_hand.one(credential.user_id, octets):
            answer = await self._appends.answer(
                AppendCall(
                    body=await read_body(http_request, bytes_max),
                    user_id=credential.user_id,
                    key=http_request.headers.get("idempotency-key"),
                    request_id=http_request.state.request_id,
                    traceparent=http_request.state.trace.traceparent,
                )
            )
        if answer.status != _OK:
            return problem_response(answer.body, answer.status)
        return Response(
            encode_json(answer.body),
            headers={"Cache-Control": "no-store"},
            media_type="application/json",
        )
