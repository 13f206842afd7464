"""The log read at leisure: from a place on, to its end or for ever, by whoever takes its time.

What was read and not taken yet is bounded, so millions of events need no more memory than a few.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec

from shared.bus.connection import Bus, BusUnavailableError
from shared.bus.jetstream import JetStream, JetStreamError
from shared.log.event import StoredEvent
from shared.log.pull import TailBrokenError
from shared.log.subjects import STREAM
from shared.log.tail import Part, Tail

_log = logging.getLogger(__name__)

_BATCH = 4_000  # events asked for at once: the server need not wait for us in between
_WAITING_MAX = 1_000  # events; then no more are asked for
_IDLE_SECONDS = 0.25
_RETRY_SECONDS = 0.5
_AWAY_SECONDS_MAX = 30.0  # then who wants to come to an end gives up


class LogEnd(msgspec.Struct, frozen=True):
    """Where the log ends just now."""

    epoch: str
    sequence: int


async def read_log_end(jetstream: JetStream) -> LogEnd:
    """Raises BusUnavailableError, also while there is no log."""
    info = await jetstream.stream_info(STREAM)
    if info is None or info.epoch is None:
        raise BusUnavailableError("there is no log yet")
    return LogEnd(info.epoch, info.state.last_seq)


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """What to read: from behind a sequence, or else what was stored at a time or later."""

    after: int = 0
    before: int | None = None  # the sequence at which it ends
    since: datetime | None = None
    account_id: str | None = None  # only its events


class History:
    """Made by `open_history`. `epoch` is that of the cursors of what was taken last."""

    def __init__(
        self,
        bus: Bus,
        wanted: Range,
        *,
        is_endless: bool,
        wants: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._jetstream = JetStream(bus)
        self._is_endless = is_endless
        self._waiting: list[tuple[str, StoredEvent]] = []
        self._came = asyncio.Event()
        self._taken = asyncio.Event()
        self._tail = Tail(
            bus,
            self._jetstream,
            part=Part(account_id=wanted.account_id, since=wanted.since, wants=wants),
            room=self._room,
            batch=_BATCH,
        )
        self._tail.move_to(wanted.after)
        self.end = 0  # the last sequence that is wanted
        self.epoch = ""

    @property
    def position(self) -> int:
        """Everything up to this sequence was read, though not all of it taken."""
        return self._tail.position

    async def batches(self) -> AsyncIterator[Sequence[tuple[str, StoredEvent]]]:
        """What comes, at times nothing, up to the end or for ever.

        The end is that of the range, or of the log as it was at the start.

        Raises BusUnavailableError: NATS was away for too long.
        """
        while True:
            batch = await self._batch()
            if not self._is_endless and batch and batch[-1][1].sequence > self.end:
                batch = [item for item in batch if item[1].sequence <= self.end]
            yield batch
            if not self._is_endless and not self._waiting and await self._is_at_end(batch):
                return

    async def run(self) -> None:
        """Until cancelled. Raises BusUnavailableError as `batches` does."""
        loop = asyncio.get_running_loop()
        heard_at, position = loop.time(), self.position
        while True:
            try:
                await self._begin()
                await self._tail.follow(self._receive)
            except (TailBrokenError, BusUnavailableError, JetStreamError) as error:
                if self.position > position:
                    heard_at, position = loop.time(), self.position
                if not self._is_endless and loop.time() - heard_at > _AWAY_SECONDS_MAX:
                    raise BusUnavailableError(f"the log cannot be read: {error}") from error
                _log.info("history_broken", extra={"error": repr(error)})
            await asyncio.sleep(_RETRY_SECONDS)

    async def _begin(self) -> None:
        end = await read_log_end(self._jetstream)
        if end.sequence < self.position:  # lost or rolled back; it is being made anew
            raise TailBrokenError("the log ends before what was read")
        while end.epoch != self.epoch and self._waiting:  # they have cursors of the one before
            await self._emptied()
        self.epoch = end.epoch

    async def _batch(self) -> Sequence[tuple[str, StoredEvent]]:
        if not self._waiting:
            self._came.clear()
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._came.wait()
            except TimeoutError:
                pass
        batch, self._waiting = self._waiting, []
        self._taken.set()
        return batch

    async def _is_at_end(self, batch: Sequence[object]) -> bool:
        if self.position >= self.end:
            return True
        if batch:
            return False
        try:  # the last ones may have been of other accounts, or be gone since
            return await self._tail.is_at_end() and not self._waiting
        except (BusUnavailableError, JetStreamError):
            return False  # `run` sees to it

    def _receive(self, account_id: str, stored: StoredEvent) -> None:
        self._waiting.append((account_id, stored))
        self._came.set()

    async def _room(self) -> None:
        while len(self._waiting) >= _WAITING_MAX:
            await self._emptied()

    async def _emptied(self) -> None:
        self._taken.clear()
        await self._taken.wait()


@asynccontextmanager
async def open_history(
    bus: Bus,
    wanted: Range,
    *,
    is_endless: bool,
    wants: Callable[[bytes], bool] | None = None,
) -> AsyncIterator[History]:
    """`bus`: a connection of its own. `is_endless`: goes on with what is appended later.

    An event whose body `wants` says no to is left out without being decoded.

    Raises BusUnavailableError.
    """
    history = History(bus, wanted, is_endless=is_endless, wants=wants)
    end = await read_log_end(JetStream(bus))
    history.epoch, history.end = end.epoch, end.sequence
    if wanted.before is not None:
        history.end = min(end.sequence, wanted.before - 1)
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(history.run(), name="history")
            try:
                yield history
            finally:
                running.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:  # who uses it need not know of the group
            raise group.exceptions[0] from None
        raise
