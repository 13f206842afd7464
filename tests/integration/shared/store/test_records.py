"""Records are written only if what was assumed is so, and found by their tags through the index."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import msgspec
import pytest

from shared.log.event import Cause
from shared.store.people import add_user
from shared.store.pool import Connection, open_pool
from shared.store.records import (
    Assumptions,
    RecordWrite,
    Written,
    lock_account,
    read_records_seen,
    read_tagged,
    write_records_if,
)
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration

CAUSE = Cause(method="Card/set")


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(postgres_dsn) as opened:
        yield opened


class Account:
    """Of `ada`, with a record c1 that has the tag 1."""

    def __init__(self, pool: asyncpg.Pool, user_id: str, account_id: str) -> None:
        self.pool, self.id = pool, account_id
        self.assumed = Assumptions(
            user_id=user_id, role="owner", type="Card", seen={}, needed=[], unique_tags=[]
        )

    async def write(self, record_id: str, *tags: int, **assumed: Any) -> Written | None:
        written = RecordWrite(type="Card", id=record_id, data=b'{"a":1}', tags=tags)
        assumptions = msgspec.structs.replace(self.assumed, **assumed)
        return await write_records_if(self.pool, self.id, [written], CAUSE, assumptions)

    async def modseq(self) -> int:
        modseq: int = await self.pool.fetchval("SELECT modseq FROM accounts WHERE id = $1", self.id)
        return modseq


@pytest.fixture
async def account(pool: asyncpg.Pool) -> Account:
    made = Account(pool, *await add_user(pool, "ada"))
    assert await made.write("c1", 1) is not None
    return made


@pytest.mark.parametrize(
    "assumed",
    [
        {"role": "write"},
        {"user_id": "unobody"},
        {"seen": {"c1": 1}},
        {"seen": {"cnone": 1}},
        {"needed": [("Card", "c1"), ("Card", "cnone")]},
        {"needed": [("Book", "c1")]},
        {"unique_tags": [7, 1]},
    ],
)
async def test_nothing_is_written_when_something_is_not_so(account: Account, assumed: Any) -> None:
    before = await account.modseq()
    assert await account.write("c2", 1, **assumed) is None
    assert await account.modseq() == before
    assert await account.pool.fetchval("SELECT count(*) FROM outbox") == 2


async def test_what_is_so_is_written_once(account: Account) -> None:
    found, seen = await read_records_seen(account.pool, account.id, "Card", ["c1", "cnone", "\0"])
    assert [record.id for record in found] == ["c1"]
    written = await account.write(
        "c1", 1, seen=seen, needed=[("Card", "c1")], unique_tags=[1]
    )  # its own tag is nobody else's
    assert written is not None
    assert written.old_state("Card") == f"s{seen['c1']}"
    assert written.entry.states["Card"].order == seen["c1"] + 1
    assert await account.write("c1", 1, seen=seen) is None


async def test_an_account_that_is_gone_is_not_written_to(account: Account) -> None:
    await account.pool.execute("DELETE FROM accounts WHERE id = $1", account.id)
    assert await account.write("c2") is None


async def test_who_waits_for_the_lock_has_the_role_of_after_it(account: Account) -> None:
    """A grant that was taken while a write waited must not let it pass."""
    async with account.pool.acquire() as taking, account.pool.acquire() as writing:
        async with taking.transaction():
            await lock_account(taking, account.id)
            waiting = asyncio.create_task(_role(writing, account))
            waiter = writing.get_server_pid()
            await eventually(lambda: _waits(account.pool, waiter))
            await taking.execute("DELETE FROM grants WHERE account_id = $1", account.id)
        assert await waiting is None


async def _role(connection: Connection, account: Account) -> str | None:
    async with connection.transaction():
        return await lock_account(connection, account.id, user_id=account.assumed.user_id)


async def _waits(pool: asyncpg.Pool, pid: int) -> bool:
    query = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $1"
    return bool(await pool.fetchval(query, pid))


async def test_tags_are_found_through_their_index_however_small_the_table(
    account: Account,
) -> None:
    async with account.pool.acquire() as connection:

        async def scans() -> tuple[int, int]:
            await connection.execute("SELECT pg_stat_force_next_flush()")
            row = await connection.fetchrow(
                """
                SELECT idx_scan, (SELECT seq_scan FROM pg_stat_user_tables
                                  WHERE relname = 'records') AS seq_scan
                FROM pg_stat_user_indexes WHERE indexrelname = 'records_by_tag'
                """
            )
            assert row is not None
            return row["idx_scan"], row["seq_scan"]

        by_index, by_table = await scans()
        for _ in range(7):  # past the plans that are made for one execution
            found = await read_tagged(connection, account.id, "Card", [1, 2], 5)
            assert [record.id for record in found] == ["c1"]
        assert await read_tagged(connection, account.id, "Other", [1], 5) == []
        assert await scans() == (by_index + 8, by_table)
