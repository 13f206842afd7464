"""The newest events first, though the log is read forwards: window after window, further back."""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from shared.bus.connection import Bus, BusUnavailableError
from shared.bus.jetstream import JetStream
from shared.log.cursor import Cursor, encode_cursor
from shared.log.history import LogEnd, Range, open_history
from shared.log.subjects import STREAM
from shared.operate.event_lines import EventLine, event_line
from shared.operate.event_range import CLOCKS_DIFFER_MAX, EventRange

_READS_AT_ONCE_MAX = 4
_SECONDS_MAX = 3.0  # of looking further back; then what was found, and where to go on
_READ_SECONDS_MAX = 20.0
_LATEST = datetime(2262, 1, 1, tzinfo=UTC)  # NATS counts nanoseconds, in 64 bits
_WINDOW_MIN = 256  # sequences
_WINDOW_MAX = 65_536


class LogSpan(msgspec.Struct, frozen=True):
    """What the log has just now."""

    end: LogEnd
    first: int  # sequence of the oldest event


class NewestEvents(msgspec.Struct, frozen=True):
    """Newest first; `next`: what is older came before this cursor. None: nothing is."""

    events: Sequence[EventLine]
    next: str | None


class EventHistory:
    """`bus`: of its own, or of other reads that may wait a moment."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._jetstream = JetStream(bus)
        self._turns = asyncio.Semaphore(_READS_AT_ONCE_MAX)

    async def span(self) -> LogSpan:
        """Raises BusUnavailableError, also while there is no log."""
        info = await self._jetstream.stream_info(STREAM)
        if info is None or info.epoch is None:
            raise BusUnavailableError("there is no log yet")
        return LogSpan(LogEnd(info.epoch, info.state.last_seq), info.state.first_seq)

    async def newest(self, wanted: EventRange, span: LogSpan, limit: int) -> NewestEvents:
        """At most `limit` of those that pass. Raises BusUnavailableError, JetStreamError."""
        try:
            async with asyncio.timeout(_READ_SECONDS_MAX), self._turns:
                if wanted.place.account_id is not None:
                    return await self._of_account(wanted, limit)
                return await self._of_all(wanted, span, limit)
        except TimeoutError as error:
            raise BusUnavailableError("the log is read too slowly") from error

    async def _of_account(self, wanted: EventRange, limit: int) -> NewestEvents:
        """The log keeps few of each account, so they are read from the first on."""
        found = await self._read(wanted, limit + 1)
        shown = found[-limit:]
        return NewestEvents(
            events=shown[::-1], next=shown[0].cursor if len(found) > limit else None
        )

    async def _of_all(self, wanted: EventRange, span: LogSpan, limit: int) -> NewestEvents:
        floor, ceiling = await self._bounds(wanted, span)
        deadline = asyncio.get_running_loop().time() + _SECONDS_MAX
        found: list[EventLine] = []
        width = max(_WINDOW_MIN, 2 * limit)
        while ceiling - 1 > floor and len(found) < limit:
            if asyncio.get_running_loop().time() > deadline:
                break
            after = max(floor, ceiling - 1 - width)
            window = Range(after=after, before=ceiling)
            rest = limit - len(found)
            lines = await self._read(EventRange(window, wanted.filter), rest)
            found += reversed(lines)
            ceiling = lines[0].sequence if len(lines) == rest else after + 1
            width = min(_WINDOW_MAX, 4 * width)
        more = encode_cursor(Cursor(span.end.epoch, ceiling)) if ceiling - 1 > floor else None
        return NewestEvents(events=found, next=more)

    async def _bounds(self, wanted: EventRange, span: LogSpan) -> tuple[int, int]:
        """Sequences after and before which to look."""
        floor = max(wanted.place.after, span.first - 1)
        before = wanted.place.before
        ceiling = span.end.sequence + 1 if before is None else before
        if wanted.place.since is not None:
            first = await self._first_stored(wanted.place.since)
            floor = max(floor, span.end.sequence if first is None else first - 1)
        if wanted.filter.until is not None:
            until = min(datetime.fromisoformat(wanted.filter.until), _LATEST)
            first = await self._first_stored(until + CLOCKS_DIFFER_MAX)
            ceiling = ceiling if first is None else min(ceiling, first)
        return floor, ceiling

    async def _first_stored(self, at: datetime) -> int | None:
        """The sequence of the first event that was stored then or later."""
        since = Range(since=min(at, _LATEST))
        async with open_history(self._bus, since, is_endless=False) as history:
            async for batch in history.batches():
                if batch:
                    return batch[0][1].sequence
        return None

    async def _read(self, wanted: EventRange, keep: int) -> list[EventLine]:
        """The last ones that pass, oldest first."""
        kept = deque[EventLine](maxlen=keep)
        passes = wanted.filter.passes
        async with open_history(
            self._bus, wanted.place, is_endless=False, wants=wanted.filter.body_test()
        ) as history:
            async for batch in history.batches():
                for account_id, stored in batch:
                    if passes(account_id, stored):
                        kept.append(event_line(history.epoch, account_id, stored))
        return list(kept)
