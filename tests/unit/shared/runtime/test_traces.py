"""Whose trace some work belongs to, and when somebody is told of it."""

from shared.runtime.trace_context import parse_traceparent
from shared.runtime.traces import LINKS_MAX, Span, SpanKind, Traces, sampled_links

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-2] + "00"


def test_a_request_is_below_its_header_or_begins_a_trace() -> None:
    traces = Traces()
    inside = traces.received(SAMPLED)
    assert (inside.trace_id, inside.parent_id) == (SAMPLED[3:35], SAMPLED[36:52])
    for header in (None, "garbage"):
        alone = traces.received(header)
        assert alone.parent_id is None
        assert not alone.is_sampled


def test_who_begins_a_trace_decides_whether_it_is_sampled() -> None:
    always, never = Traces(sampled_ratio=1), Traces(sampled_ratio=0)
    assert always.received(None).is_sampled
    assert not always.received(UNSAMPLED).is_sampled
    assert never.received(SAMPLED).is_sampled


def test_what_nobody_collects_is_not_made() -> None:
    told: list[Span] = []
    off, on = Traces(), Traces(told.append)
    whole = off.received(SAMPLED)
    assert not off.wants(whole)
    assert off.part(whole) is whole
    assert on.wants(whole)
    assert on.part(whole).parent_id == whole.span_id
    assert not on.wants(on.received(UNSAMPLED))
    assert not on.wants(None)
    span = Span(name="x", context=whole, kind=SpanKind.INTERNAL, seconds=0.1)
    off.tell(span)
    on.tell(span)
    assert told == [span]


def test_an_event_without_a_trace_has_none_below_it() -> None:
    assert Traces().below(None) is None
    below = Traces().below(SAMPLED)
    assert below is not None
    assert below.parent_id == SAMPLED[36:52]


def test_links_are_the_first_few_that_are_sampled() -> None:
    links = sampled_links([None, "garbage", UNSAMPLED, SAMPLED])
    assert links == (parse_traceparent(SAMPLED),)
    assert len(sampled_links([SAMPLED] * 20)) == LINKS_MAX
