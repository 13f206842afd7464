"""Requests of WebSockets, forwarded to the dispatchers over NATS."""

from collections import Counter

import msgspec
from nats.errors import NoRespondersError

from services.gateway.websocket_messages import (
    LIMIT,
    SERVER_FAIL,
    SERVER_UNAVAILABLE,
    MessageError,
    RequestMessage,
    encode_problem,
    encode_response,
)
from shared.bus.connection import Bus, BusUnavailableError
from shared.http.forwarded import (
    FORWARD_SECONDS_MAX,
    FORWARD_SUBJECT,
    TRACEPARENT,
    ForwardedRequest,
    decode_forwarded_answer,
    encode_forwarded,
)
from shared.runtime.clock import Clock
from shared.runtime.traces import Traces
from shared.store.credentials import Credential

_OK = 200


class Forwarding:
    """Call it; a failure is told at once, and says whether the request can have taken effect.

    `per_user_max` is RFC 8620's maxConcurrentRequests, over all WebSockets of a user here.
    """

    def __init__(self, bus: Bus, traces: Traces, clock: Clock, per_user_max: int) -> None:
        self._bus = bus
        self._traces = traces
        self._clock = clock
        self._per_user_max = per_user_max
        self._under_way: Counter[str] = Counter()  # by user

    async def __call__(self, holder: Credential, request: RequestMessage) -> bytes:
        """A Response, or a RequestError; raises MessageError."""
        user_id = holder.user_id
        if self._under_way[user_id] >= self._per_user_max:
            raise MessageError(
                LIMIT,
                f"{self._per_user_max} requests of this user are being processed.",
                request_id=request.id,
                limit="maxConcurrentRequests",
            )
        self._under_way[user_id] += 1
        try:
            return await self._forward(holder, request)
        finally:
            self._under_way[user_id] -= 1
            if not self._under_way[user_id]:
                del self._under_way[user_id]

    async def _forward(self, holder: Credential, request: RequestMessage) -> bytes:
        message = encode_forwarded(
            ForwardedRequest(
                credential=holder,
                body=msgspec.Raw(request.body),
                expires_at=self._clock.now().timestamp() + FORWARD_SECONDS_MAX,
            )
        )
        if len(message) > self._bus.client.max_payload:
            raise MessageError(
                LIMIT,
                "The request is larger than the server passes on.",
                request_id=request.id,
                limit="maxSizeRequest",
            )
        try:
            answer = decode_forwarded_answer(
                await self._bus.request(
                    FORWARD_SUBJECT,
                    message,
                    timeout_seconds=FORWARD_SECONDS_MAX,
                    headers={TRACEPARENT: self._traces.received(None).traceparent},
                )
            )
        except BusUnavailableError as error:
            raise _unavailable(error, request) from error
        except msgspec.MsgspecError as error:
            raise MessageError(
                SERVER_FAIL,
                "The answer could not be read; the request may have taken effect.",
                request_id=request.id,
                status=500,
            ) from error
        body = bytes(answer.body)
        if answer.status == _OK:
            return encode_response(body, request.id)
        return encode_problem(body, request.id)


def _unavailable(error: BusUnavailableError, request: RequestMessage) -> MessageError:
    if isinstance(error.__cause__, NoRespondersError):
        detail = "No dispatcher is there; the request was not processed."
    else:
        detail = "No dispatcher answered in time; the request may have taken effect."
    return MessageError(SERVER_UNAVAILABLE, detail, request_id=request.id, status=503)
