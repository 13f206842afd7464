"""One tail of the log per process, passed on to whoever listens to an account.

Joining without a gap (docs/adr/0003): register first, so that every later event is kept for the
listener; note how far the tail is (the fence); read the accounts' last events, no older than the
fence; hand over what the listener's cursor missed, with what was kept and is newer than the read.

A cursor covers all that was told with it or before it: so whoever presents it to another gateway,
whose tail may be behind this one, is not told an older state there.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec

from services.gateway.recent_events import RecentEvents
from shared.bus.connection import BusUnavailableError
from shared.bus.direct_get import DirectGetError
from shared.bus.jetstream import JetStreamError
from shared.log.appender import LogUnavailableError
from shared.log.cursor import Cursor, decode_cursor, encode_cursor
from shared.log.event import StoredEvent, changed_since
from shared.log.keeper import SoundLog
from shared.log.pull import TailBrokenError
from shared.log.reader import Snapshot
from shared.store.pool import POSTGRES_ERRORS

_log = logging.getLogger(__name__)

_JOIN_SECONDS = 10.0

Outcome: TypeAlias = Literal["fresh", "resumed", "reset"]
"""How a cursor was answered: there was none; with what it missed; with all there is."""

LOG_ERRORS = (
    BusUnavailableError,
    DirectGetError,
    JetStreamError,
    LogUnavailableError,
    TailBrokenError,
    *POSTGRES_ERRORS,
)


class Update(msgspec.Struct, frozen=True):
    """One event as its listeners get it: type -> state; all up to `cursor` is known with it."""

    account_id: str
    changed: Mapping[str, str]
    cursor: str


class Joined(msgspec.Struct, frozen=True):
    """What a cursor missed: account -> type -> state; all up to `cursor` is known with it."""

    changed: Mapping[str, Mapping[str, str]]
    cursor: str
    outcome: Outcome


class Listener(Protocol):
    """Is called on the loop, must not wait, and gets each account's updates in order."""

    def receive(self, update: Update) -> None: ...

    def resynchronise(self) -> None:
        """Something was missed that cannot be told any more: end, or join again."""


class TailOfLog(Protocol):
    position: int

    async def reached(self, sequence: int) -> None: ...

    async def follow(self, receive: Callable[[str, StoredEvent], None]) -> None: ...


class ReaderOfLog(Protocol):
    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot: ...


class Verify(Protocol):
    async def __call__(self, *, seen: int, seen_epoch: str | None) -> SoundLog:
        """Raises LogUnavailableError while the log is not sound."""


class _Member:
    """A listener's interest in some accounts, from one call of `join`."""

    __slots__ = ("account_ids", "kept", "listener", "told_up_to")

    def __init__(self, listener: Listener, account_ids: tuple[str, ...]) -> None:
        self.listener = listener
        self.account_ids = account_ids
        self.kept: dict[str, StoredEvent] | None = {}  # newest per account; None: live
        self.told_up_to = 0  # a read may be ahead of the tail, whose events are then old news


class FanOut:
    """`run` it in the process's task group; a failure of NATS is waited out, never raised."""

    def __init__(
        self,
        tail: TailOfLog,
        reader: ReaderOfLog,
        verify: Verify,
        *,
        recent_accounts_max: int = 50_000,
        retry_seconds: float = 0.2,
    ) -> None:
        self._tail = tail
        self._reader = reader
        self._verify = verify
        self._retry_seconds = retry_seconds
        self._recent_accounts_max = recent_accounts_max
        self._recent = RecentEvents(recent_accounts_max, floor=0)
        self._index: defaultdict[str, list[_Member]] = defaultdict(list)
        self._members: defaultdict[Listener, list[_Member]] = defaultdict(list)
        self._epoch: str | None = None
        self._live = asyncio.Event()
        self._doubted = asyncio.Event()
        # From which sequence on the tail skipped some, until it has read what came after them.
        self._skipped_from: int | None = None
        self._skipped = asyncio.Event()

    @property
    def is_live(self) -> bool:
        return self._live.is_set()

    @property
    def position(self) -> int:
        """All events up to this sequence were passed on."""
        return self._tail.position

    @property
    def cursor(self) -> str:
        """Of `position`; while no log was found yet one that is answered with all there is."""
        return self._cursor(self._tail.position)

    def doubt(self) -> None:
        """A connection was lost: nobody joins until the log was checked again."""
        self._live.clear()
        self._doubted.set()

    async def run(self) -> None:
        """Follow the log until cancelled."""
        task = asyncio.current_task()
        while True:
            try:
                self._doubted.clear()
                sound = await self._check()
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._tail.follow(self.receive))
                    group.create_task(self._make_up_for_skipped())
                    await self._tail.reached(sound.last_sequence)
                    self._live.set()
                    await self._doubted.wait()
                    raise LogUnavailableError("a connection was lost")
            except* LOG_ERRORS as errors:
                _log.warning("log_tail_interrupted", extra={"error": repr(errors.exceptions)})
            finally:
                self._live.clear()
            if task is not None and task.cancelling():  # a group that fails forgets that
                raise asyncio.CancelledError
            await asyncio.sleep(self._retry_seconds)

    async def join(
        self, listener: Listener, account_ids: Collection[str], cursor: str | None
    ) -> Joined:
        """Listen to the accounts, too; await it in the task that hands the answer on.

        Hand it on before anything else is awaited: from then on `receive` may be called, with what
        is newer than `Joined.cursor`. Raises LogUnavailableError when the log cannot be read in
        10 s.
        """
        member = _Member(listener, tuple(account_ids))
        self._members[listener].append(member)
        for account_id in member.account_ids:
            self._index[account_id].append(member)
        try:
            async with asyncio.timeout(_JOIN_SECONDS):
                return await self._catch_up(member, cursor)
        except TimeoutError as error:
            self._remove(member)
            raise LogUnavailableError("the log could not be read in time") from error
        except BaseException:
            self._remove(member)
            raise

    def leave(self, listener: Listener, account_ids: Collection[str] | None = None) -> None:
        """Stop listening, to all accounts or to some; harmless when it did not listen."""
        for member in self._members.pop(listener, []):
            left = set(member.account_ids)
            if account_ids is not None:
                left &= set(account_ids)
            self._unindex(member, left)
            member.account_ids = tuple(set(member.account_ids) - left)
            if member.account_ids:
                self._members[listener].append(member)

    def receive(self, account_id: str, stored: StoredEvent) -> None:
        """Take the log's next event."""
        self._recent.add(account_id, stored)
        if stored.sequence > self._tail.position + 1:
            self._skip_from(self._tail.position + 1)
        members = self._index.get(account_id)
        if not members:
            return
        if stored.event.is_removal:
            self._end(account_id)
            return
        update = Update(account_id, self._news_of(stored), self._cursor(stored.sequence))
        for member in tuple(members):
            if member.kept is not None:
                member.kept[account_id] = stored
            elif stored.sequence > member.told_up_to:
                self._pass_on(member, update)

    def _news_of(self, stored: StoredEvent) -> dict[str, str]:
        """With the states of skipped events: each event has all states of its account."""
        if self._skipped_from is not None:
            return changed_since(stored, self._skipped_from - 1)
        return {name: state.state for name, state in stored.event.changed.items()}

    def _skip_from(self, sequence: int) -> None:
        """The log keeps few events of an account: a tail that lags misses some of a busy one."""
        if self._skipped_from is None:
            self._skipped_from = sequence
        self._skipped.set()

    async def _make_up_for_skipped(self) -> None:
        """Until cancelled. Raises LogUnavailableError, BusUnavailableError, JetStreamError."""
        if self._skipped_from is not None:
            self._skipped.set()
        while True:
            await self._skipped.wait()
            self._skipped.clear()
            sound = await self._verify(seen=self._tail.position, seen_epoch=self._epoch)
            # An event is dropped for later ones of its account, which were there by now.
            await self._tail.reached(sound.last_sequence)
            if not self._skipped.is_set():
                self._skipped_from = None

    async def _check(self) -> SoundLog:
        """Make sure that the log is the one that was followed, or start over with the new one."""
        sound = await self._verify(seen=self._tail.position, seen_epoch=self._epoch)
        if self._epoch is None:
            self._tail.position = max(
                sound.first_sequence - 1, sound.last_sequence - self._recent_accounts_max
            )
            self._recent = RecentEvents(self._recent_accounts_max, floor=self._tail.position)
            self._epoch = sound.epoch
        elif self._epoch != sound.epoch:
            await self._start_over(sound)
        elif sound.last_sequence < self._tail.position:
            raise LogUnavailableError("the log ends before what was read from it")
        return sound

    async def _start_over(self, sound: SoundLog) -> None:
        """The log was made anew: tell every listener all that its accounts have there.

        The tail goes on where the read ends: what it would bring again would be older.
        """
        snapshot = await self._reader.read(tuple(self._index), after=0, fence=sound.last_sequence)
        self._epoch = sound.epoch
        self._skipped_from = None
        self._tail.position = snapshot.up_to
        self._recent = RecentEvents(self._recent_accounts_max, floor=snapshot.up_to)
        for account_id, changed in snapshot.changed_since(0).items():
            # Not all accounts were told yet, so this cursor must not stand for all of them.
            update = Update(account_id, changed, self._cursor(0))
            for member in tuple(self._index.get(account_id, ())):
                if member.kept is None:
                    self._pass_on(member, update)
        _log.warning("log_started_over", extra={"epoch": sound.epoch})

    async def _catch_up(self, member: _Member, cursor: str | None) -> Joined:
        while True:
            await self._live.wait()
            epoch, fence = self._epoch, self._tail.position
            after = self._sequence_of(cursor)
            if cursor is None:
                return self._go_live(member, {}, fence, "fresh")
            if after is not None and self._recent.floor <= after <= fence:
                changed = self._recent.changed_since(member.account_ids, after)
                return self._go_live(member, changed, fence, "resumed")
            try:
                snapshot, after = await self._read(member, after, fence)
            except LOG_ERRORS as error:
                _log.info("log_read_failed", extra={"error": repr(error)})
                await asyncio.sleep(self._retry_seconds)
                continue
            if self._live.is_set() and self._epoch == epoch:
                outcome: Outcome = "reset" if after is None else "resumed"
                changed = snapshot.changed_since(after or 0)
                return self._go_live(member, changed, snapshot.up_to, outcome)

    async def _read(
        self, member: _Member, after: int | None, fence: int
    ) -> tuple[Snapshot, int | None]:
        """Returns the `after` that the snapshot answers: None for one from the future, too."""
        if after is not None:
            snapshot = await self._reader.read(member.account_ids, after=after, fence=fence)
            if snapshot.up_to >= after:
                return snapshot, after
        # Whoever lost its cursor may know all that the log's leader has, and one above ours may
        # come from a gateway that is ahead of us, or of the replica that answered.
        sound = await self._verify(seen=fence, seen_epoch=self._epoch)
        if after is not None and after > sound.last_sequence:
            after = None
        snapshot = await self._reader.read(
            member.account_ids, after=after or 0, fence=sound.last_sequence
        )
        return snapshot, after

    def _sequence_of(self, cursor: str | None) -> int | None:
        """None for what is no cursor of this log: it is answered with all there is."""
        decoded = decode_cursor(cursor or "")
        if decoded is None or decoded.epoch != self._epoch or decoded.sequence == 0:
            return None
        return decoded.sequence

    def _go_live(
        self, member: _Member, changed: dict[str, dict[str, str]], up_to: int, outcome: Outcome
    ) -> Joined:
        """Join what was kept to what `changed` up to `up_to`: one cursor covers all of it."""
        kept, member.kept = member.kept or {}, None
        member.told_up_to = up_to
        for account_id, stored in kept.items():
            newer = changed_since(stored, up_to)
            if newer and account_id in member.account_ids:
                changed[account_id] = changed.get(account_id, {}) | newer
        return Joined(changed, self._cursor(max(up_to, self._tail.position)), outcome)

    def _pass_on(self, member: _Member, update: Update) -> None:
        try:
            member.listener.receive(update)
        except Exception:  # noqa: BLE001 - one listener's bug is not the others' loss
            _log.exception("listener_failed")
            self.leave(member.listener)
            member.listener.resynchronise()

    def _remove(self, member: _Member) -> None:
        self._unindex(member, member.account_ids)
        members = self._members[member.listener]
        if member in members:
            members.remove(member)
        if not members:
            del self._members[member.listener]

    def _end(self, account_id: str) -> None:
        """The account was removed: whatever its listeners believe to see, there is nothing more."""
        for member in tuple(self._index[account_id]):
            self._unindex(member, (account_id,))
            member.account_ids = tuple(name for name in member.account_ids if name != account_id)

    def _unindex(self, member: _Member, account_ids: Collection[str]) -> None:
        for account_id in account_ids:
            members = self._index[account_id]
            if member in members:
                members.remove(member)
            if not members:
                del self._index[account_id]

    def _cursor(self, sequence: int) -> str:
        return encode_cursor(Cursor(self._epoch or "", sequence))
