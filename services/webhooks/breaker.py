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


class Leave(msgspec.Struct, frozen=True, eq=False):
    """What a look may do now; give it back when the look ends."""

    seconds_to_wait: float  # 0: go ahead, and say how it went; else put the lane off for so long


class _Origin(msgspec.Struct):
    failures: int = 0
    open_until: float = 0.0
    probe: Leave | None = None
    probe_in_health: Leave | None = None
    answered_at: float = float("-inf")


class Breaker:
    """`now` is monotonic seconds. Only failures of the way to the origin count, not refusals."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._origins: OrderedDict[str, _Origin] = OrderedDict()

    def ask(self, origin: str, now: float, *, is_healthy: bool) -> Leave:
        """`is_healthy`: the lane's last attempt did not fail."""
        known = self._origins.get(origin)
        if known is None or known.failures < _FAILURES_TO_OPEN:
            return Leave(0.0)
        if is_healthy and known.probe_in_health is None:
            known.probe_in_health = Leave(0.0)
            return known.probe_in_health
        if now < known.open_until:
            return Leave(known.open_until - now + self._random() * _SPREAD_SECONDS)
        if is_healthy or known.probe is not None:
            return Leave(_OPEN_SECONDS_MIN + self._random() * _SPREAD_SECONDS)
        known.probe = Leave(0.0)
        return known.probe

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
        if known.answered_at >= began_at:
            return
        known.failures += 1
        excess = known.failures - _FAILURES_TO_OPEN
        if excess >= 0:
            bound = min(_OPEN_SECONDS_MAX, _OPEN_SECONDS_MIN * 2 ** min(excess, 10))
            known.open_until = now + bound * (0.5 + self._random() / 2)

    def give_back(self, origin: str, leave: Leave) -> None:
        """The look ended, however it went: if it was a probe, somebody else may probe."""
        known = self._origins.get(origin)
        if known is None:
            return
        if known.probe is leave:
            known.probe = None
        if known.probe_in_health is leave:
            known.probe_in_health = None

    def _bound(self, origin: str) -> None:
        self._origins.move_to_end(origin)
        if len(self._origins) > _ORIGINS_MAX:
            self._origins.popitem(last=False)
