"""Answers the requests that gateways forward from WebSockets, as `/jmap/api` answers others."""

import asyncio
import logging
import secrets

import msgspec
from nats.aio.msg import Msg

from services.dispatcher.requests import Requests
from shared.bus.connection import Bus, BusUnavailableError
from shared.http.forwarded import (
    FORWARD_QUEUE,
    FORWARD_SECONDS_MAX,
    FORWARD_SUBJECT,
    TRACEPARENT,
    ForwardedAnswer,
    ForwardedRequest,
    decode_forwarded_request,
    encode_forwarded,
)
from shared.http.request_line import asker_facts, log_request
from shared.jmap.errors import RequestError, limit_exceeded
from shared.jmap.i_json import encode_json
from shared.jmap.session import CoreLimits
from shared.runtime.clock import Clock
from shared.runtime.logs import correlated
from shared.runtime.metrics import Metric, Metrics
from shared.runtime.trace_context import TraceContext
from shared.runtime.traces import Span, SpanKind, Traces
from shared.store.pool import POSTGRES_AWAY

_log = logging.getLogger(__name__)

REQUESTS_AT_ONCE = 64  # of this process
REQUESTS_WAITING_MAX = 256  # to begin; more are refused at once
_OCTETS_WAITING_MAX = 64 * 2**20  # of their bodies
_OK = 200
_FAULT = RequestError("serverFail", "An error of the server.", http_status=500)
_AWAY = RequestError("serverUnavailable", "The database does not answer now.", http_status=503)
_BUSY = RequestError(
    "serverUnavailable", "The server has too much to do; nothing was done.", http_status=503
)
_TOO_LATE = RequestError(
    "serverUnavailable", "The request came too late; nothing was done.", http_status=503
)
_CUT_SHORT = RequestError(
    "serverUnavailable", "The server ended; the request may have taken effect.", http_status=503
)
_TOO_LARGE = RequestError(
    "serverFail",
    "The request was processed, but its response is larger than the server passes on.",
    http_status=500,
)


class BusRequests:
    """`run` it in the process's task group.

    Each message is taken as it comes, and nothing waits in the queue of nats-py, which would drop
    what is too much without an answer, and would let a request begin that its gateway gave up.
    """

    def __init__(
        self,
        bus: Bus,
        requests: Requests,
        limits: CoreLimits,
        *,
        clock: Clock,
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._bus = bus
        self._requests = requests
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._traces = traces
        self._slots = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self.waiting = 0  # to begin
        self._octets_waiting = 0

    async def run(self, draining: asyncio.Event) -> None:
        """Until `draining` is set and the requests in hand were answered; cancelled, cut short."""
        async with asyncio.TaskGroup() as tasks:

            async def take(message: Msg) -> None:
                octets = self._octets_waiting + len(message.data)
                if self.waiting >= REQUESTS_WAITING_MAX or octets > _OCTETS_WAITING_MAX:
                    await self._refuse(message)
                    return
                self.waiting += 1
                self._octets_waiting = octets
                tasks.create_task(self._respond(message))

            await self._bus.share(FORWARD_SUBJECT, FORWARD_QUEUE, take, until=draining)

    async def _respond(self, message: Msg) -> None:
        trace = self._traces.received((message.headers or {}).get(TRACEPARENT))
        asked = _Asked(message.data, secrets.token_hex(8), trace, {})
        begun = self._clock.monotonic()
        try:
            await self._slots.acquire()
        except asyncio.CancelledError:
            await self._refuse(message)
            raise
        finally:
            self.waiting -= 1
            self._octets_waiting -= len(message.data)
        try:
            with correlated(request_id=asked.request_id):
                answer = await self._answer(asked, begun)
                body = encode_forwarded(answer)
                if len(body) > self._bus.client.max_payload:
                    answer = _problem(_TOO_LARGE)
                    body = encode_forwarded(answer)
                self._note(asked, answer.status, len(body), self._clock.monotonic() - begun)
                await self._bus.publish(message.reply, body)
        except BusUnavailableError as error:
            _log.warning("answer_not_sent", extra={"error": repr(error)})
        except asyncio.CancelledError:
            await self._refuse(message, _CUT_SHORT)
            raise
        finally:
            self._slots.release()

    async def _refuse(self, message: Msg, why: RequestError = _BUSY) -> None:
        status = str(why.http_status)
        self._metrics.count(Metric.BUS_REQUESTS, subject=FORWARD_SUBJECT, status=status)
        try:
            await self._bus.publish(message.reply, encode_forwarded(_problem(why)))
        except BusUnavailableError as error:
            _log.warning("answer_not_sent", extra={"error": repr(error)})

    def _note(self, asked: "_Asked", status: int, octets: int, seconds: float) -> None:
        self._metrics.count(Metric.BUS_REQUESTS, subject=FORWARD_SUBJECT, status=str(status))
        facts = {**asked.facts, "octets_in": len(asked.data), "octets_out": octets}
        log_request("websocket", FORWARD_SUBJECT, status, seconds, trace=asked.trace, facts=facts)
        if self._traces.wants(asked.trace):
            self._traces.tell(
                Span(
                    name=FORWARD_SUBJECT,
                    context=asked.trace,
                    kind=SpanKind.SERVER,
                    seconds=seconds,
                    attributes={"tidings.request_id": asked.request_id, "tidings.status": status},
                    is_error=status >= _FAULT.http_status,
                )
            )

    async def _answer(self, asked: "_Asked", came_at: float) -> ForwardedAnswer:
        """`came_at`: in monotonic seconds; whoever asked waits so long from then on."""
        seconds = FORWARD_SECONDS_MAX - (self._clock.monotonic() - came_at)
        try:
            forwarded = decode_forwarded_request(asked.data)
            expires_at = forwarded.expires_at
            is_late = expires_at is not None and self._clock.now().timestamp() >= expires_at
            if is_late or seconds <= 0:
                # A process that stood still, a full queue, or clocks a minute apart.
                _log.warning("request_came_too_late", extra={"subject": FORWARD_SUBJECT})
                return _problem(_TOO_LATE)
            async with asyncio.timeout(seconds):
                return await self._process(forwarded, asked)
        except RequestError as error:
            return _problem(error)
        except POSTGRES_AWAY as error:  # as over HTTP; a time-out is one of them
            _log.warning("database_away", extra={"error": repr(error)})
            return _problem(_AWAY)
        except Exception:  # noqa: BLE001 - a problem for the client, a stack trace for the log
            _log.exception("request_failed", extra={"subject": FORWARD_SUBJECT})
            return _problem(_FAULT)

    async def _process(self, forwarded: ForwardedRequest, asked: "_Asked") -> ForwardedAnswer:
        """Raises RequestError."""
        asked.facts.update(asker_facts(forwarded.credential))
        body = bytes(forwarded.body)
        if len(body) > self._limits.max_size_request:
            raise limit_exceeded(
                "maxSizeRequest",
                f"The request is larger than {self._limits.max_size_request} octets.",
            )
        answered = await self._requests.answer(
            body, forwarded.credential, request_id=asked.request_id, trace=asked.trace
        )
        asked.facts["calls"] = answered.calls
        return ForwardedAnswer(status=_OK, body=msgspec.Raw(answered.body))


class _Asked(msgspec.Struct, frozen=True):
    data: bytes
    request_id: str
    trace: TraceContext
    facts: dict[str, object]  # for the line of the log


def _problem(error: RequestError) -> ForwardedAnswer:
    return ForwardedAnswer(status=error.http_status, body=msgspec.Raw(encode_json(error.problem())))
