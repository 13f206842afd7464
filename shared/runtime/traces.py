"""Spans: which part of a trace took how long, given to whoever collects them, if anybody does."""

import random
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import msgspec

from shared.runtime.trace_context import TraceContext, child_of, new_trace, parse_traceparent

LINKS_MAX = 8


class SpanKind(StrEnum):
    """Which side of a call it is, in the words of OpenTelemetry."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What ended just now and took `seconds`. `links`: other traces that it belongs to."""

    name: str
    context: TraceContext
    kind: SpanKind
    seconds: float
    attributes: Mapping[str, str | int | float | bool] = {}
    links: Sequence[TraceContext] = ()
    is_error: bool = False


class Traces:
    """Makes the contexts of a process's work. `collect` None: spans are not made at all.

    A trace that others began is sampled where they say so; one that begins here with the chance
    `sampled_ratio`.
    """

    def __init__(
        self, collect: Callable[[Span], None] | None = None, *, sampled_ratio: float = 0.0
    ) -> None:
        self._collect = collect
        self._sampled_ratio = sampled_ratio

    def received(self, traceparent: str | None) -> TraceContext:
        """For a request: below what its header says, or a new trace."""
        parent = parse_traceparent(traceparent)
        if parent is None:
            is_sampled = random.random() < self._sampled_ratio  # noqa: S311 - no secret
            return new_trace(random.getrandbits, is_sampled=is_sampled)
        return child_of(parent, random.getrandbits)

    def below(self, traceparent: str | None) -> TraceContext | None:
        """For what an event caused; None where it tells no trace."""
        parent = parse_traceparent(traceparent)
        return None if parent is None else child_of(parent, random.getrandbits)

    def part(self, whole: TraceContext) -> TraceContext:
        """For a part of some work: a span of its own where somebody collects it, else the same."""
        return child_of(whole, random.getrandbits) if self.wants(whole) else whole

    def wants(self, context: TraceContext | None) -> bool:
        """Whether a span of `context` is collected: if not, nobody need make it."""
        return self._collect is not None and context is not None and context.is_sampled

    def tell(self, span: Span) -> None:
        """Only what `wants`."""
        if self._collect is not None:
            self._collect(span)


def sampled_links(traceparents: Sequence[str | None]) -> tuple[TraceContext, ...]:
    """The first few of them whose traces somebody collects."""
    contexts = (parse_traceparent(text) for text in traceparents)
    return tuple(one for one in contexts if one is not None and one.is_sampled)[:LINKS_MAX]
