"""W3C Trace Context, level 1, sections 3.2 and 4: what is a traceparent, and what comes of one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.trace_context import (
    CHARACTERS_MAX,
    TraceContext,
    child_of,
    is_sampled,
    new_trace,
    parse_traceparent,
)

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TEXT = f"00-{TRACE_ID}-{SPAN_ID}-01"


def test_a_traceparent_is_read_and_written() -> None:
    context = parse_traceparent(TEXT)
    assert context == TraceContext(TRACE_ID, SPAN_ID, is_sampled=True)
    assert context.traceparent == TEXT
    assert is_sampled(TEXT)


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_only_the_sampled_flag_is_known_and_passed_on(flags: str, *, sampled: bool) -> None:
    context = parse_traceparent(f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    assert context is not None
    assert context.is_sampled == sampled
    assert context.traceparent[-2:] == ("01" if sampled else "00")
    assert is_sampled(context.traceparent) == sampled


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        TEXT.upper(),
        f"{TEXT}-more",  # version 00 has nothing after its flags
        f"{TEXT} ",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",  # a version that never will be
        f"01-{TRACE_ID}-{SPAN_ID}-01more",
        f"00-{TRACE_ID[1:]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        f"00-{TRACE_ID}-{SPAN_ID}-0g",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"00-{TRACE_ID}-{SPAN_ID}-01\r\nHost: x",
        f"\uff10\uff10-{TRACE_ID}-{SPAN_ID}-01",
        f"01-{TRACE_ID}-{SPAN_ID}-01-{'x' * CHARACTERS_MAX}",
    ],
)
def test_anything_else_is_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


@pytest.mark.parametrize("rest", ["", "-", "-what-comes-one-day"])
def test_a_later_version_is_read_as_far_as_ours_goes(rest: str) -> None:
    context = parse_traceparent(f"cc-{TRACE_ID}-{SPAN_ID}-01{rest}")
    assert context is not None
    assert context.traceparent == TEXT


@given(seed=st.integers(0), sampled=st.booleans())
def test_a_new_trace_is_a_traceparent_that_no_other_has(seed: int, *, sampled: bool) -> None:
    bits = random.Random(seed).getrandbits
    first, second = (new_trace(bits, is_sampled=sampled) for _ in range(2))
    assert parse_traceparent(first.traceparent) == first
    assert first.trace_id != second.trace_id
    assert first.parent_id is None


def test_zero_is_no_id() -> None:
    context = new_trace(lambda _: 0, is_sampled=False)
    assert parse_traceparent(context.traceparent) == context


def test_a_child_is_in_the_trace_and_knows_its_parent() -> None:
    parent = parse_traceparent(TEXT)
    assert parent is not None
    child = child_of(parent, random.Random(1).getrandbits)
    assert (child.trace_id, child.is_sampled, child.parent_id) == (TRACE_ID, True, SPAN_ID)
    assert child.span_id != SPAN_ID
