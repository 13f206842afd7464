"""Reads of many joins at once, as few requests: a reconnect storm is a storm of equal reads.

Whoever finds no open batch leads one: it waits for its turn, and whoever comes meanwhile joins the
batch. The leader reads for all of them, and each takes what it asked for.
"""

import asyncio
from collections.abc import Collection
from typing import Protocol

from shared.bus.direct_get import SUBJECTS_MAX
from shared.log.appender import LogUnavailableError
from shared.log.reader import Snapshot

_ACCOUNTS_MAX = SUBJECTS_MAX - 1  # of a batch, unless one read alone asks for more
_READS_AT_ONCE = 4


class ReaderOfLog(Protocol):
    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot: ...


class _Batch:
    def __init__(self) -> None:
        self.account_ids: set[str] = set()
        self.after = 2**63
        self.fence = 0
        self.followers = 0
        self.snapshot: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()

    def has_room(self, account_ids: Collection[str]) -> bool:
        return len(self.account_ids) + len(account_ids) <= _ACCOUNTS_MAX

    def add(self, account_ids: Collection[str], after: int, fence: int) -> None:
        """The batch reads a superset: no later than any `after`, no older than any fence."""
        self.account_ids.update(account_ids)
        self.after = min(self.after, after)
        self.fence = max(self.fence, fence)


class BatchedReader:
    """As the reader below it. What waits is bounded by who calls."""

    def __init__(self, reader: ReaderOfLog) -> None:
        self._reader = reader
        self._turns = asyncio.Semaphore(_READS_AT_ONCE)
        self._open: dict[bool, _Batch] = {}  # by whether all there is was asked for

    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot:
        """See LogReader.read."""
        kind = after == 0  # else one lost cursor would have everybody's accounts read whole
        batch = self._open.get(kind)
        if batch is not None and batch.has_room(account_ids):
            batch.add(account_ids, after, fence)
            batch.followers += 1
            snapshot = await asyncio.shield(batch.snapshot)
        else:
            batch = self._open[kind] = _Batch()
            batch.add(account_ids, after, fence)
            snapshot = await self._lead(batch, kind)
        events = {
            account_id: stored
            for account_id in account_ids
            if (stored := snapshot.events.get(account_id)) and stored.sequence > after
        }
        return Snapshot(events, snapshot.up_to)

    async def _lead(self, batch: _Batch, kind: bool) -> Snapshot:  # noqa: FBT001
        try:
            async with self._turns:
                if self._open.get(kind) is batch:
                    del self._open[kind]
                snapshot = await self._reader.read(
                    batch.account_ids, after=batch.after, fence=batch.fence
                )
        except BaseException as error:
            if self._open.get(kind) is batch:
                del self._open[kind]
            if batch.followers:
                reason = LogUnavailableError(f"the read was given up: {error!r}")
                batch.snapshot.set_exception(error if isinstance(error, Exception) else reason)
            raise
        if batch.followers:
            batch.snapshot.set_result(snapshot)
        return snapshot
