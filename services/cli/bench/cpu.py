"""CPU and memory of processes and what they started, from /proc; nothing where there is none."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

_PROC = Path("/proc")


class Meter:
    """CPU seconds since it was made, by program; `pids` are the first process of each."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = {**pids, "bench": os.getpid()}
        self._before = self._seconds()

    def cores(self, seconds: float) -> dict[str, float]:
        """Used on average in the last `seconds`."""
        now = self._seconds()
        return {
            name: round((now[name] - before) / seconds, 3)
            for name, before in self._before.items()
            if name in now
        }

    def _seconds(self) -> dict[str, float]:
        children = _children()
        known = set(self._pids.values())
        found = {}
        for name, pid in self._pids.items():
            ticks = [_ticks(each) for each in _family(pid, children, known - {pid})]
            if any(ticks):
                found[name] = sum(ticks) / os.sysconf("SC_CLK_TCK")
        return found


def resident_octets(pid: int) -> int:
    """Of the process alone; 0 where it cannot be read."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _children() -> Mapping[int, list[int]]:
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in _PROC.glob("[0-9]*"):
        if (fields := _fields(int(entry.name))) is not None:
            children[int(fields[1])].append(int(entry.name))
    return children


def _family(pid: int, children: Mapping[int, list[int]], others: set[int]) -> Iterator[int]:
    """The process and its descendants, without those that are counted for themselves."""
    yield pid
    for child in children.get(pid, ()):
        if child not in others:
            yield from _family(child, children, others)


def _ticks(pid: int) -> int:
    fields = _fields(pid)
    return 0 if fields is None else sum(map(int, fields[11:13]))


def _fields(pid: int) -> list[str] | None:
    """Of `stat`, from the state on (proc(5)): the parent, later user and system time in ticks."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
