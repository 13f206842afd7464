"""How many connections a process, a user and an address may hold; no I/O."""

from collections import Counter

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    connections_max: int = 20_000
    connections_per_user_max: int = 100
    connections_per_address_max: int = 5_000


class Admission:
    """Count with `enter` once `refusal` is None; each `enter` has one `leave`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._count = 0
        self._by_address: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()

    @property
    def count(self) -> int:
        return self._count

    def refusal_of_address(self, address: str) -> tuple[int, str] | None:
        """The status and the limit that is reached; asked before anything costs."""
        if self._count >= self._limits.connections_max:
            return 503, "connections of this server"
        if self._by_address[address] >= self._limits.connections_per_address_max:
            return 429, "connections of this address"
        return None

    def refusal_of_user(self, user_id: str) -> tuple[int, str] | None:
        if self._by_user[user_id] >= self._limits.connections_per_user_max:
            return 429, "connections of this user"
        return None

    def enter(self, address: str, user_id: str) -> None:
        self._count += 1
        self._by_address[address] += 1
        self._by_user[user_id] += 1

    def leave(self, address: str, user_id: str) -> None:
        self._count -= 1
        for counter, key in ((self._by_address, address), (self._by_user, user_id)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
