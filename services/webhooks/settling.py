"""Writes the ends of looks together, a few milliseconds' worth at a time."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import asyncpg
import msgspec

from shared.store.lanes import Attempt, Settlement, settle_lanes, write_attempts
from shared.store.pool import POSTGRES_ERRORS
from shared.store.push_subscriptions import delete_push_subscriptions

_log = logging.getLogger(__name__)

_GATHER_SECONDS = 0.005
_BATCH = 500
_RETRY_SECONDS = 0.5
# About what is written, so for good; whatever else PostgreSQL says may pass.
_REFUSALS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class LookEnd(msgspec.Struct, frozen=True):
    """`settlement` None: the endpoint is gone, and with it the subscription."""

    lane_id: str
    settlement: Settlement | None
    attempts: Sequence[Attempt]


class Settling:
    """Who adds must see to it that not too many wait; `settled` is called after each write."""

    def __init__(self, pool: asyncpg.Pool, settled: Callable[[], None]) -> None:
        self._pool = pool
        self._settled = settled
        self._waiting: list[LookEnd] = []
        self._in_hand = 0
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._waiting) + self._in_hand

    def add(self, end: LookEnd) -> None:
        self._waiting.append(end)
        self._idle.clear()
        self._changed.set()

    async def all_done(self) -> None:
        await self._idle.wait()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            if len(self._waiting) < _BATCH:
                await asyncio.sleep(_GATHER_SECONDS)
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            self._in_hand = len(batch)
            if not self._waiting:
                self._changed.clear()
            await self._write(batch)
            self._in_hand = 0
            self._settled()
            if not self._waiting:
                self._idle.set()

    async def _write(self, batch: Sequence[LookEnd]) -> None:
        """Until it is written: what is lost here would be told again, and its backoff forgotten.

        What is refused for good is given up alone, not with all that it came with.
        """
        while True:
            try:
                await self._write_together(batch)
            except _REFUSALS as error:
                if len(batch) > 1:
                    middle = len(batch) // 2
                    await self._write(batch[:middle])
                    await self._write(batch[middle:])
                else:
                    _log.error(
                        "webhook_settling_refused",
                        extra={"subscription": batch[0].lane_id, "error": repr(error)},
                    )
                return
            except POSTGRES_ERRORS as error:
                _log.warning("webhook_settling_postponed", extra={"error": repr(error)})
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def _write_together(self, batch: Sequence[LookEnd]) -> None:
        settlements = [end.settlement for end in batch if end.settlement is not None]
        attempts = [attempt for end in batch for attempt in end.attempts]
        gone = [end.lane_id for end in batch if end.settlement is None]
        if settlements:
            await settle_lanes(self._pool, settlements)
        if gone:
            async with self._pool.acquire() as connection, connection.transaction():
                await delete_push_subscriptions(connection, gone, because="gone")
        if attempts:
            await write_attempts(self._pool, attempts)
