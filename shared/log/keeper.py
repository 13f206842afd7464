"""Keeps the log and PostgreSQL of one mind: creates, checks and rebuilds the stream.

The stream is an index that PostgreSQL can always rebuild. What it cannot do is tell that it lost
something, so its epoch and the highest sequence seen are kept in PostgreSQL and compared before
anything is appended or read over a new connection.
"""

import asyncio
import logging
import secrets
import string
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec

from shared.bus.connection import BusUnavailableError
from shared.bus.jetstream import JetStream, StreamInfo
from shared.bus.publisher import Publisher, StaleSequenceError
from shared.log.appender import Appender, LogUnavailableError
from shared.log.catch_up import catch_up
from shared.log.event import Cause, OrderedState
from shared.log.subjects import CLOCK_SUBJECT, STREAM
from shared.log.verdict import Found, Verdict, first_sequence, judge
from shared.store.logs import (
    account_states,
    complete_epoch,
    note_compared,
    raise_highest_sequence,
    read_log,
    rebuild_lock,
    start_epoch,
)
from shared.store.pool import Connection, Executor

_log = logging.getLogger(__name__)

_EPOCH_ALPHABET = string.ascii_lowercase + string.digits
_EPOCH_LENGTH = 12  # 62 bits
_REBUILD_BATCH = 200  # accounts appended at once
_ELECTION_SECONDS_MAX = 10.0  # of the leader of a stream that was made just now
_ELECTION_POLL_SECONDS = 0.1


class LogForeignError(Exception):
    """The stream belongs to another database; only `tidings log rebuild` may replace it."""


class SoundLog(msgspec.Struct, frozen=True):
    """A log that was found sound: cursors of `epoch` hold, and it ends at `last_sequence`."""

    epoch: str
    first_sequence: int
    last_sequence: int


class LogKeeper:
    """Every method raises BusUnavailableError while NATS cannot answer."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        jetstream: JetStream,
        publisher: Publisher,
        config: dict[str, Any],
    ) -> None:
        self._pool = pool
        self._jetstream = jetstream
        self._publisher = publisher
        self._config = config
        self.seen: StreamInfo | None = None  # the stream as it was when it was last looked at

    async def verify(self, *, seen: int = 0, seen_epoch: str | None = None) -> SoundLog:
        """Check without repairing. `seen` is the highest sequence that the caller knows of.

        Raises LogUnavailableError when the log is not sound; a process that repairs will see to it.
        """
        info, verdict = await self._looked_at(self._pool)
        if seen_epoch is not None and (info is None or info.state.last_seq < seen):
            await raise_highest_sequence(self._pool, STREAM, epoch=seen_epoch, sequence=seen)
            verdict = judge(await read_log(self._pool, STREAM), _found(info))
        # An interrupted rebuild may be read: what is still to be appended comes as events.
        if info is None or verdict.health not in ("sound", "incomplete", "uncompared"):
            raise LogUnavailableError(verdict.reason)
        return _sound(info)

    async def require_sound(self) -> SoundLog:
        """Neither lost nor being made anew. Raises LogUnavailableError."""
        return await self._quickly_sound()

    async def ensure(self) -> SoundLog:
        """Create the log where there is none, finish or start a rebuild where it needs one.

        Raises LogForeignError, JetStreamError.
        """
        try:
            return await self._quickly_sound()
        except LogUnavailableError:
            async with rebuild_lock(self._pool) as connection:
                info, verdict = await self._looked_at(connection)
                if verdict.health == "foreign":
                    raise LogForeignError(
                        f"{verdict.reason}; `tidings log rebuild` replaces it"
                    ) from None
                if verdict.health == "uncompared" and info is not None:
                    await self._compare(connection, info)
                elif verdict.health != "sound":
                    await self._repair(connection, info, verdict)
        return await self.verify()

    async def rebuild(self) -> SoundLog:
        """Make the stream anew from PostgreSQL whatever its health; open clients resynchronise."""
        async with rebuild_lock(self._pool) as connection:
            info = await self._jetstream.stream_info(STREAM)
            await self._repair(connection, info, Verdict("lost", "asked for"))
        return await self.verify()

    async def apply_topology(self) -> bool:
        """Bring an existing stream to the declared configuration; True when it was changed."""
        info = await self._jetstream.stream_info(STREAM)
        if info is None or self._config.items() <= info.config.items():
            return False
        await self._jetstream.update_stream(info.config | self._config)
        return True

    async def _quickly_sound(self) -> SoundLog:
        info, verdict = await self._looked_at(self._pool)
        self.seen = info
        if info is None or verdict.health != "sound":
            raise LogUnavailableError(verdict.reason)
        return _sound(info)

    async def _looked_at(self, executor: Executor) -> tuple[StreamInfo | None, Verdict]:
        """PostgreSQL first: what is appended and noted in between must not look like a loss."""
        known = await read_log(executor, STREAM)
        info = await self._jetstream.stream_info(STREAM)
        return info, judge(known, _found(info))

    async def _compare(self, connection: Connection, info: StreamInfo) -> None:
        """The other way round: what the log has told must be known to PostgreSQL."""
        known = await read_log(connection, STREAM)
        if known is not None:
            last = info.state.last_seq
            after = max(known.highest_sequence, info.state.first_seq - 1)
            await catch_up(connection, self._jetstream, after=after, up_to=last)
            await note_compared(connection, STREAM, epoch=known.epoch, sequence=last)

    async def _repair(
        self, connection: Connection, info: StreamInfo | None, verdict: Verdict
    ) -> None:
        """Each step may be the last one: what `judge` says afterwards leads back here."""
        known = await read_log(connection, STREAM)
        if verdict.health == "incomplete" and known is not None:
            epoch = known.epoch
        else:
            if info is not None:  # it may have told what an older copy of PostgreSQL forgot
                await self._compare(connection, info)
            epoch = "".join(secrets.choice(_EPOCH_ALPHABET) for _ in range(_EPOCH_LENGTH))
            first = first_sequence(known, _found(info))
            _log.log(
                logging.INFO if verdict.health == "new" else logging.WARNING,
                "log_rebuild_started",
                extra={"reason": verdict.reason, "epoch": epoch, "first_sequence": first},
            )
            await start_epoch(connection, STREAM, epoch=epoch, sequence=first - 1)
            await self._jetstream.delete_stream(STREAM)
            await self._jetstream.create_stream(
                self._config | {"first_seq": first, "metadata": {"epoch": epoch}}
            )
        await self._append_clock()
        accounts = await self._append_states()
        await complete_epoch(connection, STREAM, epoch)
        _log.info("log_rebuild_finished", extra={"epoch": epoch, "accounts": accounts})

    async def _append_clock(self) -> None:
        """A cluster says that it made a stream before that has a leader, which takes events."""
        ends_at = asyncio.get_running_loop().time() + _ELECTION_SECONDS_MAX
        while True:
            try:
                with suppress(StaleSequenceError):  # it is there
                    await self._publisher.append(CLOCK_SUBJECT, b"{}", last_sequence=0)
            except BusUnavailableError:
                if asyncio.get_running_loop().time() > ends_at:
                    raise
                await asyncio.sleep(_ELECTION_POLL_SECONDS)
            else:
                return

    async def _append_states(self) -> int:
        """PostgreSQL was read after the old stream ended, so nothing that it told is missing."""
        appender = Appender(self._publisher, self._jetstream, is_sound=lambda: True)
        at = await _now_text(self._pool)
        count = 0

        async def append(account_id: str, states: dict[str, OrderedState]) -> None:
            await appender.append(account_id, states, at=at, cause=Cause(method="log rebuild"))

        async for accounts in account_states(self._pool, batch=_REBUILD_BATCH):
            try:
                async with asyncio.TaskGroup() as group:
                    for account_id, states in accounts:
                        group.create_task(append(account_id, states))
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures
            count += len(accounts)
        return count


def _found(info: StreamInfo | None) -> Found | None:
    return Found(info.epoch, info.state.last_seq) if info else None


def _sound(info: StreamInfo) -> SoundLog:
    return SoundLog(info.epoch or "", info.state.first_seq, info.state.last_seq)


async def _now_text(pool: asyncpg.Pool) -> str:
    text: str = await pool.fetchval(
        """SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
    )
    return text
