"""All push connections of the process: one clock for their pings, flushes and deadlines."""

import asyncio
import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from typing import Any, Protocol

from services.gateway.channel import PushChannel, Update
from services.gateway.connection_id import connection_id, new_gateway_id
from services.gateway.deadlines import Deadlines
from services.gateway.ended import ENDED_KEPT, EndedConnections
from services.gateway.push_connection import Change, EndReason
from services.gateway.record import (
    FRAMES_KEPT,
    NOTHING_KEPT,
    EndedConnection,
    FrameRing,
    Note,
    Recorded,
    Ring,
)
from services.gateway.samples import new_samples
from services.gateway.watches import Watches
from shared.log.appender import LogUnavailableError
from shared.runtime.logs import log_facts
from shared.store.pool import POSTGRES_AWAY

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.25  # how late a ping may be
REJOINS_AT_ONCE = 32
REJOIN_SECONDS = 15.0


class Joined(Protocol):
    """What a cursor missed: account -> type -> state; all up to `cursor` is known with it."""

    @property
    def changed(self) -> Mapping[str, Mapping[str, str]]: ...
    @property
    def cursor(self) -> str: ...
    @property
    def outcome(self) -> str: ...


class FanOut(Protocol):
    """The tail of the log, passed on by account."""

    @property
    def cursor(self) -> str: ...

    async def join(
        self, listener: PushChannel, account_ids: Collection[str], cursor: str | None
    ) -> Joined: ...

    def leave(self, listener: PushChannel, account_ids: Collection[str] | None = None) -> None: ...


class VisibleAccounts(Protocol):
    """Which accounts a user may see now."""

    async def __call__(self, user_id: str) -> frozenset[str]: ...


class Connections:
    """Holds each channel from `add` to `discard`; `run` it in the process's task group."""

    def __init__(
        self,
        fan_out: FanOut,
        visible_accounts: VisibleAccounts,
        *,
        now: Callable[[], float],
        flush_seconds: float,
        frames_kept: int = FRAMES_KEPT,
        ended_kept: int = ENDED_KEPT,
    ) -> None:
        self.now = now
        self.gateway_id = new_gateway_id()
        self.ended_lately = EndedConnections(ended_kept)
        self.watches = Watches(self.gateway_id, self.ring_with_room)
        self.open: Counter[str] = Counter()  # by kind
        self.ended: Counter[tuple[str, str]] = Counter()  # by kind and reason
        self.joined: Counter[str] = Counter()  # by outcome
        self.rejoined = 0
        self.replayed_states = new_samples()  # by each join with a cursor
        self.ping_seconds = new_samples()
        self.drained_ratio = 0.0
        self._sent_by_ended: Counter[str] = Counter()  # by kind
        self._merged_by_ended: Counter[str] = Counter()
        self._fan_out = fan_out
        self._visible_accounts = visible_accounts
        self._flush_seconds = flush_seconds
        self.frames_kept = frames_kept
        self._opened = 0  # connections, ever
        self._channels: dict[int, PushChannel] = {}  # by number, so in order of arrival
        self._by_user: dict[str, set[PushChannel]] = {}
        self._deadlines: Deadlines[PushChannel] = Deadlines(TICK_SECONDS)
        self._unflushed: set[PushChannel] = set()
        self._joining: set[PushChannel] = set()  # one join at a time, or an old one ends last
        self._join_again: set[PushChannel] = set()
        self._to_rejoin: dict[PushChannel, None] = {}  # in order of arrival
        self._rejoin_wanted = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None
        self.update: Update | None = None
        self.change = Change("", {}, "")  # of `update`

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[PushChannel]:
        return iter(tuple(self._channels.values()))

    @property
    def cursor(self) -> str:
        """Who joins with it is told all that comes after this moment."""
        return self._fan_out.cursor

    def newest_first(self) -> Iterator[PushChannel]:
        """As it is now; it may change while it is read."""
        return iter(tuple(reversed(self._channels.values())))

    def get(self, number: int) -> PushChannel | None:
        return self._channels.get(number)

    @property
    def user_count(self) -> int:
        return len(self._by_user)

    def of_user(self, user_id: str) -> Collection[PushChannel]:
        return tuple(self._by_user.get(user_id, ()))

    def add(self, channel: PushChannel) -> None:
        """Before it joins, so that a revocation finds it."""
        self._channels[channel.number] = channel
        self._by_user.setdefault(channel.holder.user_id, set()).add(channel)
        self.open[channel.kind] += 1
        if self.watches:
            self.watches.opened(channel)

    def discard(self, channel: PushChannel) -> None:
        """It has ended; harmless to say twice."""
        if channel.number not in self._channels:
            return
        del self._channels[channel.number]
        of_user = self._by_user[channel.holder.user_id]
        of_user.discard(channel)
        if not of_user:
            del self._by_user[channel.holder.user_id]
        channel.place.leave()
        self._fan_out.leave(channel)
        self._deadlines.discard(channel, channel.deadline_key)
        self._unflushed.discard(channel)
        self._to_rejoin.pop(channel, None)
        self._join_again.discard(channel)
        self.open[channel.kind] -= 1
        self._sent_by_ended[channel.kind] += channel.messages
        self._merged_by_ended[channel.kind] += channel.push.merges
        self.ended[channel.kind, channel.push.end_reason or ""] += 1
        self._remember(channel)

    async def join(self, channel: PushChannel, cursor: str | None) -> None:
        """Give the channel what its cursor missed; the caller opens it without waiting again.

        Raises what FanOut.join raises. The channel may have ended meanwhile.
        """
        self._joining.add(channel)
        try:
            account_ids = await self._visible_accounts(channel.holder.user_id)
            channel.push.retain(account_ids)
            joined = await self._fan_out.join(channel, account_ids, cursor)
        finally:
            self._joining.discard(channel)
            if channel in self._join_again:
                self._join_again.discard(channel)
                self.rejoin_soon(channel)
        if channel.push.is_over:
            self._fan_out.leave(channel)
            return
        channel.account_ids = account_ids
        self.joined[joined.outcome] += 1
        missed = channel.push.catch_up(joined.changed, joined.cursor)
        channel.note_joined(cursor, joined.outcome, missed)
        if cursor is not None:
            self.replayed_states.append(missed)

    def change_of(self, update: Update) -> Change:
        """One Change for all connections that get the update, so that it is encoded once."""
        self.update = update
        self.change = Change(update.account_id, update.changed, update.cursor)
        return self.change

    def sent_and_merged(self) -> tuple[Counter[str], Counter[str]]:
        """StateChanges sent, and changes that were merged into a later one; by kind."""
        sent, merged = self._sent_by_ended.copy(), self._merged_by_ended.copy()
        for channel in self._channels.values():
            sent[channel.kind] += channel.messages
            merged[channel.kind] += channel.push.merges
        return sent, merged

    def id_of(self, connection: Recorded) -> str:
        return connection_id(self.gateway_id, connection.number)

    def next_number(self) -> int:
        """Of a new connection; no other one of the process has it."""
        self._opened += 1
        return self._opened

    def ring_with_room(self, ring: Ring | None) -> Ring:
        """`ring`, with its older half forgotten, or a new one."""
        if not self.frames_kept:
            return NOTHING_KEPT if ring is None else ring
        if ring is None:
            return FrameRing()
        ring.make_room(self.frames_kept // 2)
        return ring

    def schedule(self, channel: PushChannel) -> None:
        """Call when the channel may want to wake earlier than before."""
        at = channel.push.wake_at
        if at < channel.deadline_at:
            self._deadlines.discard(channel, channel.deadline_key)
            channel.deadline_at = at
            channel.deadline_key = self._deadlines.put(channel, at)

    def flush_soon(self, channel: PushChannel) -> None:
        if not self._unflushed:
            asyncio.get_running_loop().call_later(self._flush_seconds, self._flush)
        self._unflushed.add(channel)

    def rejoin_soon(self, channel: PushChannel) -> None:
        """Look again at what the channel may see, and at what it missed."""
        if channel in self._joining:
            self._join_again.add(channel)
        elif channel.number in self._channels:
            self._to_rejoin[channel] = None
            self._rejoin_wanted.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what a channel waits for; it must not raise. Only while `run` runs."""
        if self._tasks is None:
            work.close()
        else:
            self._tasks.create_task(work)

    async def run(self) -> None:
        """Tick, and rejoin, until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._tick(), name="gateway_clock")
                for _ in range(REJOINS_AT_ONCE):
                    self._tasks.create_task(self._rejoin(), name="gateway_rejoin")
        finally:
            self._tasks = None

    async def drain(self, window_seconds: float) -> None:
        """End all, in random order and evenly over the window."""
        channels = list(self._channels.values())
        random.shuffle(channels)
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number, channel in enumerate(channels):
            delay = start + window_seconds * number / len(channels) - loop.time()
            if delay > TICK_SECONDS / 10:
                await asyncio.sleep(delay)
            channel.end(EndReason.DRAINING)
            self.drained_ratio = number / len(channels)
        for channel in self:  # who came meanwhile
            channel.end(EndReason.DRAINING)
        self.drained_ratio = 1.0

    def _remember(self, channel: PushChannel) -> None:
        """It has ended: for operators who ask soon, and in the logs for the others."""
        now, push = self.now(), channel.push
        self.watches.ended(channel, Note(now, "ended", detail=push.end_reason))
        self.ended_lately.add(EndedConnection(channel, now))
        log_facts(
            _log,
            "connection_ended",
            {
                "connection_id": self.id_of(channel),
                "transport": channel.kind,
                "reason": push.end_reason,
                "user_id": channel.holder.user_id,
                "credential_id": channel.holder.id,
                "remote_address": channel.address,
                "seconds": round(now - push.opened_at, 3),
                "messages": channel.messages,
                "merged": push.merges,
                "filtered": push.filtered,
                "pending": sum(map(len, push.pending.values())),
                "cursor": push.cursor,
                "by": channel.ended_by,
            },
        )

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self.now()
            for channel in self._deadlines.due(now):
                channel.deadline_at, channel.deadline_key = math.inf, None
                channel.wake(now)
                if not channel.push.is_over:
                    self.schedule(channel)

    def _flush(self) -> None:
        channels, self._unflushed = self._unflushed, set()
        now = self.now()
        for channel in channels:
            channel.flush(now)
            if channel.push.flush_at < math.inf:
                self.flush_soon(channel)

    async def _rejoin(self) -> None:
        while True:
            await self._rejoin_wanted.wait()
            if not self._to_rejoin:
                self._rejoin_wanted.clear()
                continue
            channel = next(iter(self._to_rejoin))
            del self._to_rejoin[channel]
            try:
                async with asyncio.timeout(REJOIN_SECONDS):
                    await self._look_again(channel)
            except (LogUnavailableError, *POSTGRES_AWAY) as error:
                _log.info("rejoin_refused", extra={"error": repr(error)})
                channel.end(EndReason.LOST)
            except Exception:  # noqa: BLE001  a loop of the process: the client comes again
                _log.exception("rejoin_failed")
                channel.end(EndReason.LOST)

    async def _look_again(self, channel: PushChannel) -> None:
        self._fan_out.leave(channel)
        if not channel.wants_push:
            channel.account_ids = frozenset()
            return
        await self.join(channel, channel.cursor_to_join())
        self.rejoined += 1
        channel.flush(self.now())
        if channel.push.flush_at < math.inf:
            self.flush_soon(channel)
