"""Events as they come, to any number of viewers: one tail of the log for all of them.

The log is followed only while somebody looks. What a viewer does not take is dropped and counted,
so that nobody is held up by another, and memory is bounded.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from services.console.account_names import AccountNames
from shared.bus.connection import Bus, BusUnavailableError
from shared.bus.jetstream import JetStream, JetStreamError
from shared.log.event import StoredEvent
from shared.log.event_filter import EventFilter
from shared.log.history import LogEnd, Range, open_history, read_log_end
from shared.operate.event_lines import EventLine, event_line

_log = logging.getLogger(__name__)

_LINGER_SECONDS = 10.0  # after the last viewer has gone: a reload comes back
_RETRY_SECONDS = 0.5
_LIVE_SECONDS_MAX = 5.0  # to begin


class ShownEvent(EventLine, frozen=True, kw_only=True, omit_defaults=True):
    """As `tidings events --json` has it, and the account's name where it is known."""

    account_name: str | None = msgspec.field(default=None, name="accountName")


def shown_event(line: EventLine, name: str | None) -> ShownEvent:
    return ShownEvent(**msgspec.structs.asdict(line), account_name=name)


def event_message(shown: ShownEvent) -> bytes:
    """For an event stream."""
    return b"event: event\nid: %b\ndata: %b\n\n" % (
        shown.cursor.encode(),
        msgspec.json.encode(shown),
    )


class ViewersFullError(Exception):
    """There are as many viewers as there may be."""


class Viewer:
    """Made by `LiveEvents.viewing`: what waits for one who looks."""

    def __init__(self, wanted: EventFilter, *, waiting_max: int) -> None:
        self.wanted = wanted
        self.is_closed = False
        self._waiting = deque[tuple[int, bytes]]()
        self._waiting_max = waiting_max
        self._dropped = 0
        self._came = asyncio.Event()

    def offer(self, sequence: int, message: bytes) -> None:
        if len(self._waiting) >= self._waiting_max:
            self._dropped += 1
        else:
            self._waiting.append((sequence, message))
        self._came.set()

    def close(self) -> None:
        self.is_closed = True
        self._came.set()

    async def take(self, seconds: float) -> tuple[Sequence[tuple[int, bytes]], int]:
        """What waits, at the latest after so long, and how many were dropped behind it."""
        if not self._waiting and not self._dropped and not self.is_closed:
            self._came.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._came.wait()
            except TimeoutError:
                pass
        taken, self._waiting = self._waiting, deque()
        dropped, self._dropped = self._dropped, 0
        return taken, dropped


class LiveEvents:
    """`run` it; `bus` is a connection of its own."""

    def __init__(
        self, bus: Bus, names: AccountNames, *, viewers_max: int, waiting_max: int
    ) -> None:
        self._bus = bus
        self._names = names
        self._viewers_max = viewers_max
        self._waiting_max = waiting_max
        self._viewers = set[Viewer]()
        self._watched = asyncio.Event()
        self._followed = asyncio.Event()
        self._place = LogEnd("", 0)
        self._is_closed = False

    @property
    def is_live(self) -> bool:
        return self._followed.is_set() and self._bus.is_connected

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    @contextmanager
    def viewing(self, wanted: EventFilter) -> Iterator[Viewer]:
        """Raises ViewersFullError."""
        if self.is_full:
            raise ViewersFullError
        viewer = Viewer(wanted, waiting_max=self._waiting_max)
        viewer.is_closed = self._is_closed
        self._viewers.add(viewer)
        self._watched.set()
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    @property
    def place(self) -> LogEnd:
        """Up to where viewers were told; what comes later waits for them."""
        return self._place

    @property
    def is_full(self) -> bool:
        return len(self._viewers) >= self._viewers_max

    async def started(self) -> None:
        """Returns when the log is followed. Raises BusUnavailableError: not in time."""
        self._watched.set()
        try:
            async with asyncio.timeout(_LIVE_SECONDS_MAX):
                await self._followed.wait()
        except TimeoutError as error:
            raise BusUnavailableError("the log cannot be followed") from error

    def close(self) -> None:
        """The process ends: so do the streams, and none begins."""
        self._is_closed = True
        for viewer in self._viewers:
            viewer.close()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._watched.wait()
            try:
                await self._follow()
            except (BusUnavailableError, JetStreamError) as error:
                _log.info("console_tail_interrupted", extra={"error": repr(error)})
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                self._followed.clear()

    async def _follow(self) -> None:
        """For as long as somebody looks."""
        self._place = self._place_after(await read_log_end(JetStream(self._bus)))
        looked_at = asyncio.get_running_loop().time()
        after = Range(after=self._place.sequence)
        async with open_history(self._bus, after, is_endless=True) as history:
            self._followed.set()
            async for batch in history.batches():
                if batch:
                    await self._pass_on(history.epoch, batch)
                now = asyncio.get_running_loop().time()
                if self._viewers:
                    looked_at = now
                elif now > looked_at + _LINGER_SECONDS:
                    self._watched.clear()
                    self._followed.clear()  # before it is closed: who comes now waits for the next
                    return

    def _place_after(self, end: LogEnd) -> LogEnd:
        """From where to follow: without a gap for those who were told of the place before."""
        is_before = self._place.epoch == end.epoch and self._place.sequence < end.sequence
        return self._place if self._viewers and is_before else end

    async def _pass_on(self, epoch: str, batch: Sequence[tuple[str, StoredEvent]]) -> None:
        """Who came while names were looked up is told as well: from its place on nothing fails."""
        names = await self._names.of(
            {
                account_id
                for account_id, stored in batch
                if any(viewer.wanted.passes(account_id, stored) for viewer in self._viewers)
            }
        )
        for account_id, stored in batch:
            viewers = [one for one in self._viewers if one.wanted.passes(account_id, stored)]
            if viewers:
                line = event_line(epoch, account_id, stored)
                message = event_message(shown_event(line, names.get(account_id)))
                for viewer in viewers:
                    viewer.offer(stored.sequence, message)
        self._place = LogEnd(epoch, batch[-1][1].sequence)
