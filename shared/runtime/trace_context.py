"""W3C Trace Context, level 1: which trace a change belongs to, as `traceparent` tells it; pure.

`tracestate` is not kept: it is other systems' text of up to 512 characters, which would go through
the log to strangers' endpoints. The recommendation lets a participant drop it (section 3.3).
"""

import re
from collections.abc import Callable

import msgspec

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.ASCII,
)
_VERSION = "00"
_SAMPLED = 1  # the only flag of level 1: others are not passed on
_SPAN_BITS = 64
_TRACE_BITS = 128
CHARACTERS_MAX = 512
"""Of a header that is looked at; a later version may be longer than ours, which is 55."""

RandomBits = Callable[[int], int]
"""So many of them."""


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """One span of a trace; `parent_id` None: it is the first, or its parent is not told."""

    trace_id: str
    span_id: str
    is_sampled: bool
    parent_id: str | None = None

    @property
    def traceparent(self) -> str:
        return f"{_VERSION}-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}"


def parse_traceparent(text: str | None) -> TraceContext | None:
    """None for what is no traceparent: the trace then begins here (section 4.3).

    A later version is read as far as ours goes; version 00 has nothing after its flags.
    """
    if text is None or len(text) > CHARACTERS_MAX:
        return None
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found[1] == _VERSION and found[5] is not None):
        return None
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & _SAMPLED))


def is_sampled(traceparent: str) -> bool:
    """As cheap as can be, of one of ours: most are not."""
    return traceparent.endswith("1")


def new_trace(random_bits: RandomBits, *, is_sampled: bool) -> TraceContext:
    """The first span of a trace of its own."""
    trace_id = _not_zero(random_bits, _TRACE_BITS)
    span_id = _not_zero(random_bits, _SPAN_BITS)
    return TraceContext(f"{trace_id:032x}", f"{span_id:016x}", is_sampled)


def child_of(parent: TraceContext, random_bits: RandomBits) -> TraceContext:
    """A new span below `parent`."""
    span_id = _not_zero(random_bits, _SPAN_BITS)
    return TraceContext(parent.trace_id, f"{span_id:016x}", parent.is_sampled, parent.span_id)


def _not_zero(random_bits: RandomBits, count: int) -> int:
    """Zero is no id (section 3.2.2)."""
    return random_bits(count) or 1
