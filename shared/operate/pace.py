"""When a replayed event is due: at the speed at which it happened, faster, or at once; no I/O."""

import math
from datetime import datetime

_SPEED_MAX = 1_000_000.0


def speed_of(text: str) -> float | None:
    """Of full (None), original (1), or a number. Raises ValueError, which says what it can be."""
    if text in _NAMED:
        return _NAMED[text]
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed <= _SPEED_MAX:
        raise ValueError("none of full, original and a number above 0")
    return speed


_NAMED = {"full": None, "original": 1.0}


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
