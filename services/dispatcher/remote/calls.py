"""A call of a method that another process answers: asked, waited for, checked, its changes told.

What fails is a method error. A call whose end is unknown may have changed something: RFC 8620
section 3.6.2 has only serverPartialFail for that, by which a client looks what is there now.
"""

import functools
import logging
import secrets
from collections import Counter
from typing import assert_never

from nats.aio.msg import Msg

from services.dispatcher.registry import Answers, Call
from services.dispatcher.remote.answer import (
    PARTIAL,
    Answer,
    Asked,
    BadAnswerError,
    check_answer,
    may_change,
)
from services.dispatcher.remote.changes import Changes, Reported
from services.dispatcher.remote.exchange import Exchange, Question, Silence
from services.dispatcher.remote.settings import MethodServiceSettings
from shared.jmap.errors import METHOD_ERRORS, MethodError
from shared.jmap.i_json import JsonObject, JsonValue, encode_json
from shared.jmap.session import CoreLimits
from shared.log.event import Cause
from shared.method_service.contract import (
    CONTRACT_VERSION,
    ServiceDescription,
    cancel_subject,
    subject_of,
)
from shared.runtime.clock import Clock
from shared.runtime.metrics import Metric, Metrics

_log = logging.getLogger(__name__)

_FAULT_HEADER = "Nats-Service-Error"
_FAULT_CODE_HEADER = "Nats-Service-Error-Code"
_UNAVAILABLE_CODE = "503"
_EXPLANATION = {
    Silence.UNSENT: "The server has no connection to the service of this method now.",
    Silence.NOBODY: "The service of this method is away now.",
    Silence.LATE: "The service of this method did not answer in time.",
    Silence.LOST: "The connection to the service of this method was lost.",
    Silence.GONE: "The client went away.",
}


class RemoteCalls:
    """Calls to all services, over one exchange."""

    def __init__(
        self,
        exchange: Exchange,
        changes: Changes,
        *,
        settings: MethodServiceSettings,
        limits: CoreLimits,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._exchange = exchange
        self._changes = changes
        self._settings = settings
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._running: Counter[str] = Counter()

    async def call(self, service: ServiceDescription, method: str, call: Call) -> Answers:
        """The handler of a remote method. Raises MethodError."""
        begun = self._clock.monotonic()
        outcome = "cancelled"
        try:
            answers = await self._call(service, method, call)
            first, arguments = answers[0]
            outcome = "ok" if first != "error" else _label(str(arguments["type"]))
        except MethodError as error:
            outcome = _label(error.type)
            raise
        finally:
            seconds = self._clock.monotonic() - begun
            self._metrics.count(Metric.SERVICE_CALLS, service=service.name, outcome=outcome)
            self._metrics.observe(Metric.SERVICE_CALL_SECONDS, seconds, service=service.name)
        return answers

    async def _call(self, service: ServiceDescription, method: str, call: Call) -> Answers:
        self._check_limits(method, call)
        body = _request(method, call, self._settings.timeout_seconds)
        if len(body) > self._exchange.octets_max:
            raise MethodError("requestTooLarge", "The call is larger than can be passed on.")
        if self._running[service.capability] >= self._settings.calls_max:
            raise MethodError(
                "serverUnavailable",
                f"The service of this method has {self._settings.calls_max} calls under way.",
            )
        create = call.arguments.get("create")
        asked = Asked(
            method=method,
            creations=frozenset(create) if isinstance(create, dict) else frozenset(),
            destroys_original=call.arguments.get("onSuccessDestroyOriginal") is True,
            types=service.types.keys(),
            writable=[item.id for item in call.accounts.values() if item.role != "read"],
            created_ids=dict(call.created_ids),
            octets_max=self._settings.answer_octets_max,
            created_max=self._limits.max_objects_in_set,
        )
        question = Question(
            subject=subject_of(method),
            cancel_subject=cancel_subject(service.name),
            body=body,
            late=functools.partial(self._hear_late, asked, call.cause),
            gone=call.gone,
        )
        self._running[service.capability] += 1
        try:
            message = await self._exchange.ask(
                question, timeout_seconds=self._settings.timeout_seconds
            )
        finally:
            self._running[service.capability] -= 1
        if isinstance(message, Silence):
            raise _silent(message, method)
        return await self._believed(message, asked, call)

    async def _believed(self, message: Msg, asked: Asked, call: Call) -> Answers:
        try:
            answer = _checked(message, asked)
        except BadAnswerError as error:
            raise _bad(error, asked) from error
        call.created_ids.update(answer.created_ids)
        if answer.changed:
            await self._changes.tell(Reported(answer.changed, call.cause))
        return answer.responses

    def _hear_late(self, asked: Asked, cause: Cause, message: Msg) -> None:
        """The client was told that the end is unknown; what changed must be pushed all the same."""
        try:
            answer = _checked(message, asked)
        except (BadAnswerError, MethodError) as error:
            _log.warning("late_answer_bad", extra={"method": asked.method, "error": str(error)})
            return
        if answer.changed:
            self._changes.tell_later(Reported(answer.changed, cause))

    def _check_limits(self, method: str, call: Call) -> None:
        """Those that the session tells for all types, and that the account is the user's."""
        arguments, verb = call.arguments, method.partition("/")[2]
        account_id = arguments.get("accountId")
        if isinstance(account_id, str):
            call.account(account_id)
        sizes = {
            name: _size(arguments.get(name)) for name in ("ids", "create", "update", "destroy")
        }
        if verb == "get" and sizes["ids"] > self._limits.max_objects_in_get:
            raise MethodError(
                "requestTooLarge", f"More than {self._limits.max_objects_in_get} ids."
            )
        objects = sizes["create"] + sizes["update"] + sizes["destroy"]
        if verb in ("set", "copy") and objects > self._limits.max_objects_in_set:
            raise MethodError(
                "requestTooLarge", f"More than {self._limits.max_objects_in_set} objects."
            )


def _request(method: str, call: Call, timeout_seconds: float) -> bytes:
    accounts: dict[str, JsonValue] = {
        account.id: {"readOnly": account.role == "read"} for account in call.accounts.values()
    }
    request: JsonObject = {
        "version": CONTRACT_VERSION,
        "timeout": max(1, int(timeout_seconds * 1000)),
        "traceparent": call.cause.traceparent,
        "method": method,
        "arguments": call.arguments,
        "callId": call.call_id,
        "using": list[JsonValue](sorted(call.using)),
        "principal": {"id": call.user_id, "accounts": accounts},
        "createdIds": dict[str, JsonValue](call.created_ids),
    }
    return encode_json(request)


def _checked(message: Msg, asked: Asked) -> Answer:
    """Raises BadAnswerError, and MethodError for a service that says that it cannot now."""
    headers = message.headers or {}
    if _FAULT_CODE_HEADER in headers:
        if headers[_FAULT_CODE_HEADER] == _UNAVAILABLE_CODE:
            raise MethodError("serverUnavailable", "The service of this method cannot answer now.")
        raise BadAnswerError(f"a fault of the service: {headers.get(_FAULT_HEADER, '')[:500]}")
    return check_answer(bytes(message.data), asked)


def _silent(silence: Silence, method: str) -> MethodError:
    match silence:
        case Silence.UNSENT | Silence.NOBODY:
            kind = "serverUnavailable"
        case Silence.LATE | Silence.LOST | Silence.GONE:
            kind = PARTIAL if may_change(method) else "serverUnavailable"
        case _:
            assert_never(silence)
    return MethodError(kind, _EXPLANATION[silence])


def _bad(error: BadAnswerError, asked: Asked) -> MethodError:
    """Nothing of the answer is believed; what the call did, if anything, is not known."""
    fault_id = secrets.token_hex(8)
    _log.error(
        "method_service_answer_bad",
        extra={"method": asked.method, "fault_id": fault_id, "error": str(error)},
    )
    kind = PARTIAL if may_change(asked.method) else "serverFail"
    return MethodError(kind, f"The service's answer was not usable, logged as {fault_id}.")


def _label(kind: str) -> str:
    """A type of the service's making is no label of a metric."""
    return kind if kind in METHOD_ERRORS else "other"


def _size(value: object) -> int:
    return len(value) if isinstance(value, list | dict) else 0
