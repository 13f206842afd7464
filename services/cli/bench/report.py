"""What a measurement found; no I/O."""

from collections.abc import Mapping, Sequence

import msgspec

_BUSY = 0.85  # of a core, or of all of them: more is hardly had on a machine with others at work


class Spread(msgspec.Struct, frozen=True):
    """Milliseconds."""

    p50: float
    p90: float
    p99: float
    max: float


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`count` of `unit` in `seconds`; `spread` None: nothing was counted.

    `cpu` is cores, by program; a program on another machine is not in it. `more`: what else the
    measure tells, by name with unit.
    """

    measure: str
    target: str
    connections: int
    seconds: float
    unit: str
    count: int
    failures: int
    per_second: float
    milliseconds: Spread | None
    cpu: Mapping[str, float]
    limited_by: str
    more: Mapping[str, float] = {}


def spread_of(seconds: Sequence[float]) -> Spread | None:
    """The nearest rank: a value that was measured."""
    if not seconds:
        return None
    ordered = sorted(seconds)

    def percentile(part: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000, 3)

    return Spread(percentile(0.5), percentile(0.9), percentile(0.99), percentile(1))


def limited_by(cpu: Mapping[str, float], cores: int) -> str:
    """What to give more of, or to take away from, for a higher rate."""
    if not cpu:
        return "not known: the programs run elsewhere"
    name, most = max(cpu.items(), key=lambda item: item[1])
    if sum(cpu.values()) >= _BUSY * cores:
        return f"the CPU of this machine; most of it is used by {name}"
    if most >= _BUSY and name in ("bench", "tidings"):  # these have one thread at work
        return f"the CPU of {name}, which uses one core"
    return "waiting: for the disk's syncs, for each other, or for the next question"
