"""The fan-out, which also notes how long after its commit an event was told here."""

from collections.abc import Callable
from datetime import datetime

from services.gateway.fan_out import FanOut, ReaderOfLog, TailOfLog, Verify
from services.gateway.samples import new_samples
from shared.log.event import StoredEvent


class TimedFanOut(FanOut):
    """Once per event, not per delivery, and not at all for what nobody listens to."""

    def __init__(
        self, tail: TailOfLog, reader: ReaderOfLog, verify: Verify, *, now: Callable[[], datetime]
    ) -> None:
        super().__init__(tail, reader, verify)
        self.lags = new_samples()  # seconds
        self._now = now

    def receive(self, account_id: str, stored: StoredEvent) -> None:
        super().receive(account_id, stored)
        if account_id in self._index and stored.event.at:
            lag = self._now() - datetime.fromisoformat(stored.event.at)
            self.lags.append(max(0.0, lag.total_seconds()))  # clocks of two machines differ
