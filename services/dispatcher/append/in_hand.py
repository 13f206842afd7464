"""How many append requests, and octets of them, a process has in hand."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from shared.jmap.errors import RequestError, limit_exceeded


class InHandLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one dispatcher."""

    requests_max: int = 2000
    requests_of_user_max: int = 1000
    octets_max: int = 64_000_000
    octets_of_user_max: int = 32_000_000  # so that slow requests of one leave room to others


class InHand:
    """A request is in hand from before its body is read until its answer is known."""

    def __init__(self, limits: InHandLimits) -> None:
        self._limits = limits
        self._by_user: Counter[str] = Counter()
        self._octets_by_user: Counter[str] = Counter()

    @property
    def requests(self) -> int:
        return self._by_user.total()

    @contextmanager
    def one(self, user_id: str, octets: int) -> Iterator[None]:
        """Raises RequestError: 429 when this user has too many, 503 when all together have."""
        limits = self._limits
        of_user, in_all = self._octets_by_user[user_id], self._octets_by_user.total()
        if self._by_user[user_id] >= limits.requests_of_user_max or (
            of_user and of_user + octets > limits.octets_of_user_max
        ):
            raise limit_exceeded(
                "maxConcurrentAppends",
                f"The user has {limits.requests_of_user_max} appends under way, or "
                f"{limits.octets_of_user_max} octets of them.",
                http_status=429,
            )
        if self.requests >= limits.requests_max or (in_all and in_all + octets > limits.octets_max):
            raise RequestError(
                "serverUnavailable", "Too many appends are under way.", http_status=503
            )
        self._by_user[user_id] += 1
        self._octets_by_user[user_id] += octets
        try:
            yield
        finally:
            self._octets_by_user[user_id] -= octets
            self._by_user[user_id] -= 1
            if not self._by_user[user_id]:
                del self._by_user[user_id], self._octets_by_user[user_id]
