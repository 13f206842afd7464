"""Connections that ended lately, so that an operator can still ask about them; no I/O."""

from collections import OrderedDict, deque
from collections.abc import Iterator

from services.gateway.record import EndedConnection

ENDED_KEPT = 1000
KEPT_SECONDS = 600.0
OF_USER_MAX = 20  # a client that comes and goes all the time must not displace all others


class EndedConnections:
    """At most `kept_max`, the newest of them, for KEPT_SECONDS."""

    def __init__(self, kept_max: int) -> None:
        self._kept_max = kept_max
        self._records: OrderedDict[int, EndedConnection] = OrderedDict()  # by number
        self._by_user: dict[str, deque[int]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: EndedConnection) -> None:
        of_user = self._by_user.setdefault(record.holder.user_id, deque())
        if len(of_user) >= OF_USER_MAX:
            del self._records[of_user.popleft()]
        of_user.append(record.number)
        self._records[record.number] = record
        while len(self._records) > self._kept_max:
            self._forget_oldest()
        self.forget_old(record.ended_at)

    def forget_old(self, now: float) -> None:
        while self._records:
            oldest = next(iter(self._records.values()))
            if oldest.ended_at > now - KEPT_SECONDS:
                return
            self._forget_oldest()

    def newest_first(self) -> Iterator[EndedConnection]:
        return reversed(self._records.values())

    def get(self, number: int) -> EndedConnection | None:
        return self._records.get(number)

    def _forget_oldest(self) -> None:
        number, record = self._records.popitem(last=False)
        user_id = record.holder.user_id
        of_user = self._by_user[user_id]
        of_user.remove(number)
        if not of_user:
            del self._by_user[user_id]
