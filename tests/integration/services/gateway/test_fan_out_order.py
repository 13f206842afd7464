"""What changes while a gateway reads the log takes no listener back, here nor elsewhere."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import asyncpg
import msgspec
import pytest

from services.gateway.fan_out import FanOut
from shared.bus.connection import open_bus
from shared.bus.direct_get import DirectGet, LastMessages
from shared.bus.inbox import Inbox
from shared.log.appender import Appender
from shared.log.cursor import decode_cursor
from shared.log.event import Cause, OrderedState
from shared.log.open_log import ReadableLog, open_readable_log
from shared.log.reader import LogReader, Snapshot
from shared.log.subjects import STREAM
from shared.store.pool import open_pool
from tests.support.eventually import eventually
from tests.support.stress import AT, Reader, fan_out_over, open_writer, running

pytestmark = pytest.mark.integration

Meanwhile = Callable[[], Awaitable[None]]


class _Requests(DirectGet):
    """Calls `meanwhile` once, after the first request."""

    meanwhile: Meanwhile | None = None

    async def multi_last(
        self, subjects: Sequence[str], *, first_sequence: int = 1, timeout_seconds: float = 5
    ) -> LastMessages:
        answer = await super().multi_last(
            subjects, first_sequence=first_sequence, timeout_seconds=timeout_seconds
        )
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return answer


class _Late(msgspec.Struct):
    """Calls `meanwhile` once, before it reads."""

    reader: LogReader
    meanwhile: Meanwhile | None = None

    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await self.reader.read(account_ids, after=after, fence=fence)


async def _append(appender: Appender, account_id: str, order: int) -> int:
    states = {"Email": OrderedState(f"s{order}", order)}
    return await appender.append(account_id, states, at=AT, cause=Cause())


@asynccontextmanager
async def _reads(nats_url: str, pool: asyncpg.Pool) -> AsyncIterator[tuple[ReadableLog, _Requests]]:
    async with (
        open_readable_log(nats_url, pool, name="test") as log,
        open_bus(nats_url, name="test") as bus,
        Inbox[LastMessages](bus) as inbox,
    ):
        yield log, _Requests(inbox, STREAM)


def _covers(reader: Reader, sequence: int) -> bool:
    cursor = decode_cursor(reader.cursor or "")
    return cursor is not None and cursor.sequence >= sequence


async def test_a_cursor_covers_all_that_was_told_with_it_to_a_user_of_many_accounts(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    """More than one request reads: else a gateway that is behind would answer with the older."""
    accounts = [f"a{n}" for n in range(120)]
    reader = Reader(accounts)
    async with (
        open_pool(postgres_dsn) as pool,
        open_writer(clean_nats_url, pool) as writer,
        _reads(clean_nats_url, pool) as (log, requests),
    ):
        for account_id in accounts:
            await _append(writer.appender, account_id, 1)
        fan_out = FanOut(log.tail, LogReader(requests), log.keeper.verify)
        sequences: list[int] = []

        async def change() -> None:
            """Of the first account, so that the tail has passed it, and of the last."""
            for account_id, order in [("a0", 2), ("a119", 2), ("a119", 3)]:
                sequences.append(await _append(writer.appender, account_id, order))

        async with running(fan_out.run()):
            requests.meanwhile = change
            joined = await fan_out.join(reader, accounts, "all")
            newest = sequences[-1]
            cursor = decode_cursor(joined.cursor)
            assert cursor is not None
            assert joined.outcome == "reset"
            assert len(joined.changed) >= len(accounts) - 1
            was_told = joined.changed.get("a119", {}).get("Email") == "s3"
            assert not was_told or cursor.sequence >= newest
            for account_id, changed in joined.changed.items():
                reader._learn(account_id, dict(changed))
            reader.cursor = joined.cursor
            await eventually(lambda: _covers(reader, newest))

    assert reader.violations == []
    assert reader.known["a0", "Email"] == 2
    assert reader.known["a119", "Email"] == 3


async def test_what_changes_while_a_log_made_anew_is_read_takes_nobody_back(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with (
        open_pool(postgres_dsn) as pool,
        open_writer(clean_nats_url, pool) as writer,
        _reads(clean_nats_url, pool) as (log, requests),
    ):
        await pool.execute("INSERT INTO accounts (id, name, is_personal) VALUES ('a1', 'a1', true)")
        await pool.execute("INSERT INTO type_states VALUES ('a1', 'Email', 's1', 1)")
        await _append(writer.appender, "a1", 1)
        late = _Late(LogReader(requests))
        fan_out = fan_out_over(msgspec.structs.replace(log, reader=late))
        reader = Reader(["a1"])

        async def change() -> None:
            for order in (2, 3):
                await _append(writer.appender, "a1", order)

        async with running(fan_out.run()):
            joined = await fan_out.join(reader, reader.accounts, "all")
            assert joined.changed == {"a1": {"Email": "s1"}}
            late.meanwhile = change
            await writer.keeper.rebuild()
            await eventually(lambda: reader.known.get(("a1", "Email")) == 3)
            # Whatever else the tail brings comes before this.
            last = await _append(writer.appender, "a1", 4)
            await eventually(lambda: _covers(reader, last))

    assert reader.violations == []
    assert reader.known["a1", "Email"] == 4
