"""How many lanes a worker looks at, so that dead endpoints take each other's room only; pure."""

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Group(StrEnum):
    HEALTHY = "healthy"
    TROUBLED = "troubled"  # failed last time
    SLOW = "slow"  # healthy at first, and has been at it for long


class SlotLimits(msgspec.Struct, frozen=True, kw_only=True):
    healthy_max: int = 200
    troubled_max: int = 64
    slow_max: int = 400
    origin_max: int = 100


class Slots:
    """Who is at work, by lane. A lane that turns slow gives its healthy slot back."""

    def __init__(self, limits: SlotLimits) -> None:
        self._limits = limits
        self._group_of: dict[str, Group] = {}
        self._origin_of: dict[str, str] = {}
        self._sizes: Counter[Group] = Counter()
        self._origins: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._group_of)

    def free(self, group: Group) -> int:
        bounds = {
            Group.HEALTHY: self._limits.healthy_max,
            Group.TROUBLED: self._limits.troubled_max,
            Group.SLOW: self._limits.slow_max,
        }
        return bounds[group] - self._sizes[group]

    @property
    def busy_origins(self) -> Mapping[str, int]:
        """Origin -> how many more requests it may get; of those that have any."""
        return {name: self._limits.origin_max - count for name, count in self._origins.items()}

    def take(self, lane: str, origin: str, group: Group) -> None:
        self._group_of[lane] = group
        self._origin_of[lane] = origin
        self._sizes[group] += 1
        self._origins[origin] += 1

    def turn_slow(self, lane: str) -> None:
        """Nothing happens without room among the slow: then they do hold up the healthy."""
        if self._group_of.get(lane) is Group.HEALTHY and self.free(Group.SLOW) > 0:
            self._sizes[Group.HEALTHY] -= 1
            self._sizes[Group.SLOW] += 1
            self._group_of[lane] = Group.SLOW

    def give_back(self, lane: str) -> None:
        self._sizes[self._group_of.pop(lane)] -= 1
        origin = self._origin_of.pop(lane)
        self._origins[origin] -= 1
        if not self._origins[origin]:
            del self._origins[origin]

    def sizes(self) -> Mapping[Group, int]:
        return {group: self._sizes[group] for group in Group}
