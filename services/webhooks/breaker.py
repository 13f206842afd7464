"""One origin's endpoints share its fate: while it is down, few of them ask; pure.

A push service carries many subscriptions. Each lane backs off by itself, but thousands of lanes
would each find out alone; the breaker lets one of them probe and puts the others off.

An origin may also have endpoints of many owners, of which some are broken for good: those must not
speak for the others. So a failure counts only where nothing answered since its request began, and a
lane in good health need not wait for the probes of lanes that fail.
"""

from collections import OrderedDict
from collections.abc import Callable

import msgspec

_FAILURES_TO_OPEN = 5  # in a row, of any lanes
_OPEN_SECONDS_MIN = 1.0
_OPEN_SECONDS_MAX = 60.0
_SPREAD_SECONDS = 5.0  # over which those put off come back
_ORIGINS_MAX = 10_000  # remembered; the one that was heard of longest ago is forgotten


class _Origin(msgspec.Struct):
    failures: int = 0
    open_until: float = 0.0
    is_probing: bool = False
    is_probing_in_health: bool = False
    answered_at: float = float("-inf")


class Breaker:
    """`now` is monotonic seconds. Only failures of the way to the origin count, not refusals."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._origins: OrderedDict[str, _Origin] = OrderedDict()

    def seconds_to_wait(self, origin: str, now: float, *, is_healthy: bool) -> float:
        """0: go ahead, and say how it went. Else the caller puts the lane off for so long.

        `is_healthy`: the lane's last attempt did not fail.
        """
        known = self._origins.get(origin)
        if known is None or known.failures < _FAILURES_TO_OPEN:
            return 0.0
        if is_healthy and not known.is_probing_in_health:
            known.is_probing_in_health = True
            return 0.0
        if now < known.open_until:
            return known.open_until - now + self._random() * _SPREAD_SECONDS
        if is_healthy or known.is_probing:
            return _OPEN_SECONDS_MIN + self._random() * _SPREAD_SECONDS
        known.is_probing = True
        return 0.0

    def open_origins(self) -> int:
        """How many are spared."""
        return sum(known.failures >= _FAILURES_TO_OPEN for known in self._origins.values())

    def reached(self, origin: str, now: float) -> None:
        """It answered, whatever it said."""
        self._origins[origin] = _Origin(answered_at=now)
        self._bound(origin)

    def failed(self, origin: str, now: float, *, began_at: float) -> None:
        known = self._origins.setdefault(origin, _Origin())
        self._bound(origin)
        self.gave_up(origin)
        if known.answered_at >= began_at:
            return
        known.failures += 1
        excess = known.failures - _FAILURES_TO_OPEN
        if excess >= 0:
            bound = min(_OPEN_SECONDS_MAX, _OPEN_SECONDS_MIN * 2 ** min(excess, 10))
            known.open_until = now + bound * (0.5 + self._random() / 2)

    def gave_up(self, origin: str) -> None:
        """The look ended without a request, or was cut: somebody else may probe."""
        known = self._origins.get(origin)
        if known is not None:
            known.is_probing = known.is_probing_in_health = False

    def _bound(self, origin: str) -> None:
        self._origins.move_to_end(origin)
        if len(self._origins) > _ORIGINS_MAX:
            self._origins.popitem(last=False)
