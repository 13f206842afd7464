"""How many lanes a worker looks at, so that dead endpoints take each other's room only; pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from enum import StrEnum

import msgspec

_HEALTHY_SHARE_AHEAD = 2  # at most 1 of so many healthy slots has another lane wait for it
_ORIGIN_SHARE_OF_SLOW = 10  # of an origin's room: 1 of so many, once it has no room to be slow


class Group(StrEnum):
    HEALTHY = "healthy"
    TROUBLED = "troubled"  # failed last time
    SLOW = "slow"  # one of the others, that has been at it for long
    AHEAD = "ahead"  # claimed, in health, and waits here for a slot that is about to be free


_AT_WORK = (Group.HEALTHY, Group.TROUBLED, Group.SLOW)
_IN_HEALTH = frozenset({Group.HEALTHY, Group.AHEAD})


class SlotLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`origin_max`: of lanes in good health, and as many more that fail or are slow."""

    healthy_max: int = 200
    troubled_max: int = 64
    slow_max: int = 400
    origin_max: int = 100


class Slots:
    """Who is at work, by lane. A lane that turns slow gives its healthy slot back."""

    def __init__(self, limits: SlotLimits) -> None:
        self._limits = limits
        self._bounds = {
            Group.HEALTHY: limits.healthy_max,
            Group.TROUBLED: limits.troubled_max,
            Group.SLOW: limits.slow_max,
            Group.AHEAD: limits.healthy_max // _HEALTHY_SHARE_AHEAD,
        }
        self._given_back = 0  # healthy slots, since the last claim for them began
        self._given_back_before = 0  # between the last two
        self._group_of: dict[str, Group] = {}
        self._origin_of: dict[str, str] = {}
        self._sizes: Counter[Group] = Counter()
        # By whether they are in good health: those that are not must not take the others' room.
        self._origins: defaultdict[bool, Counter[str]] = defaultdict(Counter)

    def __len__(self) -> int:
        return len(self._group_of)

    def free(self, group: Group) -> int:
        return self._bounds[group] - self._sizes[group]

    def room(self, group: Group) -> int:
        """For so many lanes more; of those in health also ahead, so that slots need not wait.

        As many as were given back between the last two claims, or since, are soon about to be
        again: none, where all that are at work are held up.
        """
        if group is not Group.HEALTHY:
            return self.free(group)
        soon = min(max(self._given_back, self._given_back_before), self._bounds[Group.AHEAD])
        return self.free(group) + max(0, soon - self._sizes[Group.AHEAD])

    def claim_begins(self, group: Group) -> None:
        if group is Group.HEALTHY:
            self._given_back, self._given_back_before = 0, self._given_back

    def busy_origins(self, group: Group) -> Mapping[str, int]:
        """Origin -> how many more lanes of the group it may get; of those that have any.

        An origin whose lanes cannot turn slow any more would hold healthy slots for a whole
        deadline each, so it gets few of them.
        """
        is_healthy = group is Group.HEALTHY
        most, counts = self._limits.origin_max, self._origins[is_healthy]
        room = {name: most - count for name, count in counts.items()}
        if is_healthy:
            few = max(1, most // _ORIGIN_SHARE_OF_SLOW)
            full = (name for name, count in self._origins[False].items() if count >= most)
            room |= {name: max(0, few - counts.get(name, 0)) for name in full}
        return room

    def take(self, lane: str, origin: str, group: Group) -> None:
        self._origin_of[lane] = origin
        self._enter(lane, group)

    def turn_slow(self, lane: str) -> None:
        """Nothing happens without room among the slow: then they do hold up their like.

        Lanes that fail get half of that room at most; the rest is for those that were healthy.
        """
        group = self._group_of.get(lane)
        if group is Group.HEALTHY:
            at_origin = self._origins[False][self._origin_of[lane]]
            may_turn = self.free(Group.SLOW) > 0 and at_origin < self._limits.origin_max
        else:
            may_turn = group is Group.TROUBLED and self.free(Group.SLOW) > self._limits.slow_max / 2
        if may_turn:
            self._leave(lane)
            self._enter(lane, Group.SLOW)

    def begin(self, lane: str) -> None:
        """One that was taken ahead is looked at."""
        self._leave(lane)
        self._enter(lane, Group.HEALTHY)

    def give_back(self, lane: str) -> None:
        if self._group_of[lane] is Group.HEALTHY:
            self._given_back += 1
        self._leave(lane)
        del self._origin_of[lane]

    def sizes(self) -> Mapping[Group, int]:
        """Of lanes at work."""
        return {group: self._sizes[group] for group in _AT_WORK}

    def sizes_max(self) -> Mapping[Group, int]:
        return {group: self._bounds[group] for group in _AT_WORK}

    def _enter(self, lane: str, group: Group) -> None:
        self._group_of[lane] = group
        self._sizes[group] += 1
        self._origins[group in _IN_HEALTH][self._origin_of[lane]] += 1

    def _leave(self, lane: str) -> None:
        group, origin = self._group_of.pop(lane), self._origin_of[lane]
        self._sizes[group] -= 1
        counts = self._origins[group in _IN_HEALTH]
        counts[origin] -= 1
        if not counts[origin]:
            del counts[origin]
