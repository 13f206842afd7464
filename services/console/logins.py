"""How often an address may fail to log in; no I/O."""

from collections import OrderedDict

_SECONDS = 60.0
_ADDRESSES_MAX = 10_000


class FailedLogins:
    """A minute's refusals by address; those of too many addresses push out the oldest."""

    def __init__(self, *, max_per_minute: int) -> None:
        self._max = max_per_minute
        self._failed: OrderedDict[str, list[float]] = OrderedDict()

    def seconds_to_wait(self, address: str, now: float) -> float:
        """Before it may try again; `now` is monotonic."""
        recent = [at for at in self._failed.get(address, ()) if at > now - _SECONDS]
        return recent[-self._max] + _SECONDS - now if len(recent) >= self._max else 0.0

    def note(self, address: str, now: float) -> None:
        """It tries, which counts as failed until it is taken back."""
        recent = [at for at in self._failed.pop(address, ()) if at > now - _SECONDS]
        self._failed[address] = [*recent, now][-self._max :]
        if len(self._failed) > _ADDRESSES_MAX:
            self._failed.popitem(last=False)

    def take_back(self, address: str, at: float) -> None:
        """What was noted then did not fail."""
        if at in (noted := self._failed.get(address, [])):
            noted.remove(at)
