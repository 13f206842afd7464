"""How many connections a process, a user and an address may hold; no I/O."""

from collections import Counter

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    connections_max: int = 20_000
    connections_per_user_max: int = 100
    connections_per_address_max: int = 5_000


class FullError(Exception):
    """`status` is HTTP's: 503 when another server may have room, 429 when the client has enough."""

    def __init__(self, status: int, limit: str) -> None:
        super().__init__(f"too many connections of this {limit}")
        self.status = status
        self.limit = limit


class Place:
    """A place among the connections, taken before anything costs; `leave` it once or more."""

    __slots__ = ("_admission", "address", "user_id")

    def __init__(self, admission: "Admission", address: str) -> None:
        self._admission: Admission | None = admission
        self.address = address
        self.user_id = ""

    def take_for(self, user_id: str) -> None:
        """Say whose it is; raises FullError."""
        if self._admission is not None:
            self._admission.count_user(user_id)
            self.user_id = user_id

    def leave(self) -> None:
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.uncount(self.address, self.user_id)


class Admission:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()
        self.count = 0

    def take(self, address: str) -> Place:
        """Raises FullError."""
        if self.count >= self._limits.connections_max:
            raise FullError(503, "server")
        if self._by_address[address] >= self._limits.connections_per_address_max:
            raise FullError(429, "address")
        self.count += 1
        self._by_address[address] += 1
        return Place(self, address)

    def count_user(self, user_id: str) -> None:
        if self._by_user[user_id] >= self._limits.connections_per_user_max:
            raise FullError(429, "user")
        self._by_user[user_id] += 1

    def uncount(self, address: str, user_id: str) -> None:
        self.count -= 1
        _decrement(self._by_address, address)
        if user_id:
            _decrement(self._by_user, user_id)


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
