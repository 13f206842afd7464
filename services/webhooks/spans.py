"""The trace of a message to an endpoint: the newest change's that it tells, linked to others'."""

from collections.abc import Mapping

from services.webhooks.answers import Answer, Outcome
from shared.jmap.state_change import Changed
from shared.log.event import Cause, StoredEvent
from shared.runtime.trace_context import TraceContext, parse_traceparent
from shared.runtime.traces import Span, SpanKind, sampled_links


def joined_cause(events: Mapping[str, StoredEvent], changed: Changed) -> Cause:
    """Of the last events of the accounts that are told; `changed` names one at least."""
    told = sorted((events[name] for name in changed), key=lambda stored: stored.sequence)
    cause = told[0].event.cause
    for stored in told[1:]:
        cause = stored.event.cause.after(cause)
    return cause


def trace_id_of(cause: Cause) -> str | None:
    context = parse_traceparent(cause.traceparent)
    return None if context is None else context.trace_id


def attempt_span(context: TraceContext, cause: Cause, answer: Answer, subscription_id: str) -> Span:
    """Of one request; it says nothing of the URL."""
    attributes: dict[str, str | int] = {
        "tidings.subscription": subscription_id,
        "tidings.outcome": answer.outcome.value,
    }
    if answer.status is not None:
        attributes["http.response.status_code"] = answer.status
    return Span(
        name="webhook",
        context=context,
        kind=SpanKind.CLIENT,
        seconds=answer.milliseconds / 1000,
        attributes=attributes,
        links=sampled_links(cause.links),
        is_error=answer.outcome is not Outcome.ACCEPTED,
    )
