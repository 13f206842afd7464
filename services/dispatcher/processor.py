"""Runs the calls of a request in order (RFC 8620 section 3): resolve, find, run, collect.

Each call is its own transaction and fails alone.
"""

import logging
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from services.dispatcher.capabilities import Capabilities
from services.dispatcher.registry import Answers, Call, Gone, Registry
from shared.jmap.envelope import Invocation, MethodResponse, Request, Response
from shared.jmap.errors import METHOD_ERRORS, MethodError, limit_exceeded, unknown_capability
from shared.jmap.references import References
from shared.jmap.session import CoreLimits
from shared.log.event import Cause
from shared.runtime.clock import Clock
from shared.runtime.metrics import Metric, Metrics
from shared.runtime.trace_context import TraceContext
from shared.runtime.traces import Span, SpanKind, Traces
from shared.store.credentials import Credential
from shared.store.people import VisibleAccount
from shared.store.pool import POSTGRES_AWAY
from shared.store.records import RecordsTooLargeError

_log = logging.getLogger(__name__)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a request, and what the log will say about it.

    `gone` None: nobody notices when the client goes.
    """

    credential: Credential
    accounts: Mapping[str, VisibleAccount]
    session_state: str
    request_id: str
    trace: TraceContext
    gone: Gone | None = None


class Processed(msgspec.Struct, frozen=True):
    """`calls` are for the log: each method, and its error where it failed."""

    response: Response
    calls: Sequence[str]


class Processor:
    """`using` may name what is among `capabilities` then."""

    def __init__(
        self,
        registry: Registry,
        capabilities: Capabilities,
        limits: CoreLimits,
        *,
        clock: Clock,
        metrics: Metrics,
        traces: Traces,
    ) -> None:
        self._registry = registry
        self._capabilities = capabilities
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._traces = traces

    async def process(self, request: Request, caller: Caller, now: datetime) -> Processed:
        """Raises RequestError."""
        unknown = [urn for urn in request.using if urn not in self._capabilities]
        if unknown:
            raise unknown_capability(f"Unknown: {', '.join(sorted(unknown))[:500]}")
        calls_max = self._limits.max_calls_in_request
        if len(request.method_calls) > calls_max:
            raise limit_exceeded("maxCallsInRequest", f"More than {calls_max} method calls.")
        created_ids = dict(request.created_ids or {})
        references = References(self._limits.max_size_request)
        calls: list[str] = []
        for invocation in request.method_calls:
            turn = _Turn(caller, created_ids, now, self._traces.part(caller.trace))
            began_at = self._clock.monotonic()
            answers = await self._answers(invocation, references, request.using, turn)
            seconds = self._clock.monotonic() - began_at
            calls.append(self._note(invocation.name, answers, turn.trace, seconds))
            references.responses.extend(
                MethodResponse(name, arguments, invocation.call_id) for name, arguments in answers
            )
        response = Response(
            method_responses=references.responses,
            session_state=caller.session_state,
            created_ids=msgspec.UNSET if request.created_ids is None else created_ids,
        )
        return Processed(response, calls)

    def _note(self, name: str, answers: Answers, trace: TraceContext, seconds: float) -> str:
        """By method; what nobody declared would be a label of somebody else's making."""
        first, arguments = answers[0]
        outcome = "ok" if first != "error" else str(arguments["type"])
        if first == "error" and outcome not in METHOD_ERRORS:
            outcome = "other"
        method = name if name in self._registry else "unknown"
        self._metrics.count(Metric.METHOD_CALLS, method=method, outcome=outcome)
        self._metrics.observe(Metric.METHOD_SECONDS, seconds, method=method)
        if self._traces.wants(trace):
            attributes = {"jmap.method": method, "jmap.outcome": outcome}
            self._traces.tell(
                Span(
                    name=method,
                    context=trace,
                    kind=SpanKind.INTERNAL,
                    seconds=seconds,
                    attributes=attributes,
                    is_error=outcome in ("serverFail", "serverPartialFail", "serverUnavailable"),
                )
            )
        return method if outcome == "ok" else f"{method} {outcome}"

    async def _answers(
        self,
        invocation: Invocation,
        references: References,
        using: Collection[str],
        turn: "_Turn",
    ) -> Answers:
        method = self._registry.get(invocation.name)
        try:
            if method is None or method.capability not in using:
                return _UNKNOWN_METHOD
            arguments = references.resolve(invocation.arguments)
            call = Call(
                arguments=arguments,
                call_id=invocation.call_id,
                using=using,
                credential=turn.caller.credential,
                accounts=turn.caller.accounts,
                created_ids=turn.created_ids,
                cause=_cause(invocation.name, turn),
                now=turn.now,
                gone=turn.caller.gone,
            )
            return await method.handle(call)
        except MethodError as error:
            return [("error", error.arguments())]
        except RecordsTooLargeError:
            failure = MethodError("requestTooLarge", "These records are too large for one call.")
            return [("error", failure.arguments())]
        except POSTGRES_AWAY as error:
            _log.warning("database_away", extra={"error": repr(error)})
            return [("error", MethodError("serverUnavailable").arguments())]
        except Exception:  # noqa: BLE001 - a bug of one method is no other method's
            fault_id = secrets.token_hex(8)
            _log.exception("method_failed", extra={"method": invocation.name, "fault_id": fault_id})
            failure = MethodError("serverFail", f"An error of the server, logged as {fault_id}.")
            return [("error", failure.arguments())]


_UNKNOWN_METHOD: Answers = [("error", MethodError("unknownMethod").arguments())]


class _Turn(msgspec.Struct, frozen=True):
    caller: Caller
    created_ids: dict[str, str]
    now: datetime
    trace: TraceContext  # of this call


def _cause(method: str, turn: _Turn) -> Cause:
    return Cause(
        method=method,
        request_id=turn.caller.request_id,
        principal=turn.caller.credential.user_name,
        traceparent=turn.trace.traceparent,
    )
