"""The fan-out, which also notes how long after its commit an event was told here."""

import logging
from collections.abc import Callable
from datetime import datetime

from services.gateway.fan_out import FanOut, ReaderOfLog, TailOfLog, Verify
from services.gateway.samples import new_samples
from shared.log.event import StoredEvent
from shared.runtime.trace_context import is_sampled
from shared.runtime.traces import Span, SpanKind, Traces, sampled_links

_log = logging.getLogger(__name__)


class TimedFanOut(FanOut):
    """Once per event, not per delivery, and not at all for what nobody listens to."""

    def __init__(
        self,
        tail: TailOfLog,
        reader: ReaderOfLog,
        verify: Verify,
        *,
        now: Callable[[], datetime],
        traces: Traces,
    ) -> None:
        super().__init__(tail, reader, verify)
        self.lags = new_samples()  # seconds
        self._now = now
        self._traces = traces

    def receive(self, account_id: str, stored: StoredEvent) -> None:
        listeners = len(self._index.get(account_id, ()))  # some leave when they are told
        super().receive(account_id, stored)
        if listeners and stored.event.at:
            lag = self._now() - datetime.fromisoformat(stored.event.at)
            seconds = max(0.0, lag.total_seconds())  # clocks of two machines differ
            self.lags.append(seconds)
            cause = stored.event.cause
            if cause.traceparent is not None and is_sampled(cause.traceparent):
                self._trace(account_id, stored, listeners, seconds)

    def _trace(self, account_id: str, stored: StoredEvent, listeners: int, seconds: float) -> None:
        """A line and a span for each event of a sampled trace, from its commit to the sockets."""
        cause = stored.event.cause
        context = self._traces.below(cause.traceparent)
        if context is None:
            return
        facts = {
            "account": account_id,
            "sequence": stored.sequence,
            "listeners": listeners,
            "milliseconds": round(seconds * 1000, 3),
            "trace_id": context.trace_id,
        }
        _log.info("push", extra=facts)
        if self._traces.wants(context):
            self._traces.tell(
                Span(
                    name="push",
                    context=context,
                    kind=SpanKind.CONSUMER,
                    seconds=seconds,
                    attributes={
                        "tidings.account": account_id,
                        "tidings.sequence": stored.sequence,
                        "tidings.listeners": listeners,
                    },
                    links=sampled_links(cause.links),
                )
            )
