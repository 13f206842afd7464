"""Which trace a message to an endpoint is part of."""

from services.webhooks.answers import Answer, Outcome
from services.webhooks.spans import attempt_span, joined_cause, trace_id_of
from shared.log.event import Cause, Event, OrderedState, StoredEvent
from shared.runtime.trace_context import TraceContext, parse_traceparent
from shared.runtime.traces import SpanKind

CONTEXT = TraceContext("1" * 32, "2" * 16, is_sampled=True)


def trace(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def stored(sequence: int) -> StoredEvent:
    return StoredEvent(
        sequence,
        Event(
            changed={"Email": OrderedState("s", 1)},
            unchanged={},
            at="",
            cause=Cause(traceparent=trace(sequence)),
        ),
    )


def test_it_is_that_of_the_newest_change_and_linked_to_the_others_that_are_told() -> None:
    events = {"a": stored(7), "b": stored(9), "c": stored(8)}
    cause = joined_cause(events, {"a": {}, "b": {}})
    assert cause == Cause(traceparent=trace(9), links=(trace(7),))
    assert joined_cause(events, {"c": {}}) == Cause(traceparent=trace(8))


def test_an_attempt_says_what_became_of_it_and_nothing_of_the_url() -> None:
    cause = Cause(traceparent=trace(9), links=(trace(7),))
    answer = Answer(
        outcome=Outcome.ACCEPTED, status=201, milliseconds=250, reason="https://x/secret"
    )
    span = attempt_span(CONTEXT, cause, answer, "p1")
    assert (span.name, span.kind, span.seconds) == ("webhook", SpanKind.CLIENT, 0.25)
    assert span.attributes == {
        "tidings.subscription": "p1",
        "tidings.outcome": "accepted",
        "http.response.status_code": 201,
    }
    assert span.links == (parse_traceparent(trace(7)),)
    assert not span.is_error


def test_without_an_answer_it_is_an_error_without_a_status() -> None:
    span = attempt_span(CONTEXT, Cause(), Answer(outcome=Outcome.TIMED_OUT), "p1")
    assert span.is_error
    assert "http.response.status_code" not in span.attributes


def test_the_log_has_the_trace_of_the_newest_change() -> None:
    assert trace_id_of(Cause(traceparent=trace(9))) == f"{9:032x}"
    assert trace_id_of(Cause()) is None
