"""Which of many things is due: buckets of equal width, so that a move costs O(1); no I/O."""

import heapq
import math
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Deadlines(Generic[Thing]):
    """A thing has one deadline; it comes due up to one bucket late and never early."""

    def __init__(self, bucket_seconds: float) -> None:
        self._bucket_seconds = bucket_seconds
        self._buckets: dict[int, set[Thing]] = {}
        self._order: list[int] = []  # a heap of the keys of _buckets

    def put(self, thing: Thing, at: float) -> int | None:
        """Where it lies, for `discard`; None when `at` is infinite: it is never due."""
        if math.isinf(at):
            return None
        key = math.ceil(at / self._bucket_seconds)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = set()
            heapq.heappush(self._order, key)
        bucket.add(thing)
        return key

    def discard(self, thing: Thing, key: int | None) -> None:
        if key is not None and key in self._buckets:
            self._buckets[key].discard(thing)

    def due(self, now: float) -> list[Thing]:
        """Take out all that is due at `now`."""
        things: list[Thing] = []
        while self._order and self._order[0] * self._bucket_seconds <= now:
            things.extend(self._buckets.pop(heapq.heappop(self._order)))
        return things
