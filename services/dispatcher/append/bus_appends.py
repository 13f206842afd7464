"""NATS requests on `tidings.append`: as `POST /tidings/append`, with the same headers.

The answer's body is that of HTTP. An error has the headers of the NATS services API, whose clients
know them: `Nats-Service-Error-Code` is HTTP's status, `Nats-Service-Error` says why.
"""

import asyncio
import logging
import secrets
from collections.abc import Mapping

import msgspec
from nats.aio.msg import Msg

from services.dispatcher.append.appends import AppendAnswer, AppendCall, Appends
from services.dispatcher.append.documents import SUBJECT
from services.dispatcher.append.in_hand import InHand
from shared.bus.connection import Bus, BusUnavailableError
from shared.http.authentication import AuthenticationError, Authenticator, ScopeMissingError
from shared.http.request_line import asker_facts, log_request
from shared.jmap.errors import RequestError
from shared.jmap.i_json import JsonObject, encode_json
from shared.runtime.clock import Clock
from shared.runtime.logs import correlated
from shared.runtime.metrics import Metric, Metrics
from shared.runtime.trace_context import TraceContext
from shared.runtime.traces import Span, SpanKind, Traces
from shared.store.pool import POSTGRES_AWAY

QUEUE = "dispatchers"
ERROR_CODE, ERROR = "Nats-Service-Error-Code", "Nats-Service-Error"
_SCOPE = "append"
_RETRY_AFTER = "1"  # seconds
_TASKS_MAX = 4096  # above what may be in hand: who comes then is refused, and not left alone
_PENDING_OCTETS_MAX = 64_000_000  # not looked at yet; over it they are dropped, and asked again
_OK, _TOO_MANY, _FAULT, _UNAVAILABLE = 200, 429, 500, 503

_log = logging.getLogger(__name__)


class BusAppends:
    """`run` it in the process's task group."""

    def __init__(
        self,
        appends: Appends,
        in_hand: InHand,
        authenticator: Authenticator,
        *,
        clock: Clock,
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._appends = appends
        self._in_hand = in_hand
        self._authenticator = authenticator
        self._clock = clock
        self._metrics = metrics
        self._traces = traces

    async def run(self, bus: Bus, draining: asyncio.Event) -> None:
        """Until `draining` is set and what is in hand was answered; cancelled, it is cut short.

        What is too much is refused at once, so nothing piles up unanswered.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks_max = asyncio.Semaphore(_TASKS_MAX)

            async def take(message: Msg) -> None:
                await tasks_max.acquire()
                answering = tasks.create_task(self._respond(bus, message))
                answering.add_done_callback(lambda _: tasks_max.release())

            await bus.share(
                SUBJECT, QUEUE, take, until=draining, pending_octets_max=_PENDING_OCTETS_MAX
            )

    async def _respond(self, bus: Bus, message: Msg) -> None:
        if not message.reply:  # whoever cannot be told must not believe that it was appended
            _log.warning("append_without_reply_subject")
            return
        headers = {name.lower(): value for name, value in (message.headers or {}).items()}
        asked = _Asked(
            message.data,
            headers,
            secrets.token_hex(8),
            self._traces.received(headers.get("traceparent")),
            {},
        )
        begun = self._clock.monotonic()
        with correlated(request_id=asked.request_id):
            try:
                answer = await self._answer(asked)
            except asyncio.CancelledError:
                await _send(bus, message.reply, _CUT_SHORT, asked.request_id)
                raise
            octets = await _send(bus, message.reply, answer, asked.request_id)
            self._note(asked, answer, octets, self._clock.monotonic() - begun)

    def _note(self, asked: "_Asked", answer: AppendAnswer, octets: int, seconds: float) -> None:
        status = answer.status
        self._metrics.count(Metric.BUS_REQUESTS, subject=SUBJECT, status=str(status))
        facts = {**asked.facts, "octets_in": len(asked.body), "octets_out": octets}
        log_request("nats", SUBJECT, status, seconds, trace=asked.trace, facts=facts)
        if self._traces.wants(asked.trace):
            self._traces.tell(
                Span(
                    name=SUBJECT,
                    context=asked.trace,
                    kind=SpanKind.SERVER,
                    seconds=seconds,
                    attributes={"tidings.request_id": asked.request_id, "tidings.status": status},
                    is_error=status >= _FAULT,
                )
            )

    async def _answer(self, asked: "_Asked") -> AppendAnswer:
        headers = asked.headers
        try:
            credential = await self._authenticator.authenticate(
                headers.get("authorization"), scope=_SCOPE
            )
            asked.facts.update(asker_facts(credential))
            with self._in_hand.one(credential.user_id, len(asked.body)):
                return await self._appends.answer(
                    AppendCall(
                        body=asked.body,
                        user_id=credential.user_id,
                        key=headers.get("idempotency-key"),
                        request_id=asked.request_id,
                        traceparent=asked.trace.traceparent,
                    )
                )
        except AuthenticationError as error:
            return _problem(401, error.detail)
        except ScopeMissingError as error:
            return _problem(403, str(error))
        except RequestError as error:
            return AppendAnswer(error.http_status, error.problem())
        except POSTGRES_AWAY as error:
            _log.warning("database_away", extra={"error": repr(error)})
            return _problem(_UNAVAILABLE, "The database does not answer now.")
        except Exception:  # noqa: BLE001 - a problem for the producer, a stack trace for the log
            _log.exception("request_failed", extra={"subject": SUBJECT})
            return _problem(_FAULT, "An error of the server; the log has it under X-Request-Id.")


class _Asked(msgspec.Struct, frozen=True):
    body: bytes
    headers: Mapping[str, str]  # names in lower case
    request_id: str
    trace: TraceContext
    facts: dict[str, object]  # for the line of the log


async def _send(bus: Bus, reply: str, answer: AppendAnswer, request_id: str) -> int:
    """The octets of its body."""
    body = encode_json(answer.body)
    try:
        await bus.publish(reply, body, headers=_headers(answer, request_id))
    except BusUnavailableError as error:
        _log.warning("answer_not_sent", extra={"error": repr(error)})
    return len(body)


def _problem(status: int, detail: str) -> AppendAnswer:
    body: JsonObject = {"type": "about:blank", "status": status, "detail": detail}
    return AppendAnswer(status, body)


_CUT_SHORT = _problem(_UNAVAILABLE, "The server ended; the changes may have been appended.")


def _headers(answer: AppendAnswer, request_id: str) -> dict[str, str]:
    headers = {"X-Request-Id": request_id}
    if answer.status != _OK:
        headers[ERROR_CODE] = str(answer.status)
        headers[ERROR] = str(answer.body.get("detail", ""))
    if answer.status in (_TOO_MANY, _UNAVAILABLE):
        headers["Retry-After"] = _RETRY_AFTER
    return headers
