"""When a replayed event is due: at the speed at which it happened, faster, or at once; no I/O."""

from datetime import datetime


class Pace:
    """`speed`: 1 as it happened, 10 ten times as fast; None: as fast as it goes."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._first: datetime | None = None
        self._begun = 0.0

    def seconds_to_wait(self, at: str, now: float) -> float:
        """Before the event of the time `at`, which is as events have it; `now` is monotonic.

        Times may go back a little in the log: such an event is due at once.
        """
        if self._speed is None or not at:
            return 0.0
        happened = datetime.fromisoformat(at)
        if self._first is None:
            self._first, self._begun = happened, now
        due = self._begun + (happened - self._first).total_seconds() / self._speed
        return max(0.0, due - now)
