"""A database that forgot what the log has told: compared on a real server, and brought past it."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from msgspec.json import decode

from shared.log.event import Cause, OrderedState, changed_since
from shared.log.open_log import WritableLog, open_readable_log, open_writable_log
from shared.log.subjects import STREAM
from shared.store.logs import read_log
from shared.store.outbox import mark_published
from shared.store.pool import open_pool
from tests.support.stress import AT, open_writer, whole_log

pytestmark = pytest.mark.integration

RESTORED = "UPDATE logs SET compared_in = 'another run', highest_sequence = 0"


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(postgres_dsn) as opened:
        yield opened


@pytest.fixture
async def log(clean_nats_url: str, pool: asyncpg.Pool) -> AsyncIterator[WritableLog]:
    """Made, and looked at by nobody but the test."""
    async with open_writer(clean_nats_url, pool):
        pass
    async with open_writable_log(clean_nats_url, pool, name="test") as opened:
        opened.appender._is_sound = lambda: True  # nobody guards it
        yield opened


async def account(pool: asyncpg.Pool, account_id: str, modseq: int, **states: int) -> None:
    """As PostgreSQL has it; a state is 's' and its order, as a mutation of ours leaves it."""
    await pool.execute(
        "INSERT INTO accounts (id, name, is_personal, modseq) VALUES ($1, $1, true, $2)",
        account_id,
        modseq,
    )
    for type_name, order in states.items():
        await row(pool, account_id, type_name, f"s{order}", order)


async def row(pool: asyncpg.Pool, account_id: str, type_name: str, state: str, order: int) -> None:
    await pool.execute(
        "INSERT INTO type_states (account_id, type, state, ord) VALUES ($1, $2, $3, $4)",
        account_id,
        type_name,
        state,
        order,
    )


async def tell(log: WritableLog, account_id: str, **states: OrderedState) -> int:
    return await log.appender.append(account_id, states, at=AT, cause=Cause())


async def told(pool: asyncpg.Pool) -> dict[str, dict[str, tuple[str, int]]]:
    """What waits to be appended."""
    rows = await pool.fetch("SELECT account_id, states FROM outbox WHERE published_at IS NULL")
    return {
        row["account_id"]: {name: tuple(state) for name, state in decode(row["states"]).items()}
        for row in rows
    }


async def test_what_the_log_alone_knows_gets_a_state_that_was_never_told(
    log: WritableLog, pool: asyncpg.Pool
) -> None:
    await account(pool, "a1", 6, ContactCard=5, AddressBook=2, Todo=6)
    await row(pool, "a1", "Email", "e3", 3)
    own = {"ContactCard": OrderedState("s5", 5), "AddressBook": OrderedState("s2", 2)}
    await tell(log, "a1", **own, Email=OrderedState("e3", 3))
    await tell(log, "a1", ContactCard=OrderedState("s9", 9))
    await tell(log, "a1", Email=OrderedState("e7", 7))
    await tell(log, "a1", Mailbox=OrderedState("m1", 1))
    await tell(log, "a1", Principal=OrderedState("s8", 8))
    await account(pool, "a2", 4, ContactCard=4)
    last = await tell(log, "a2", ContactCard=OrderedState("s4", 4))
    await pool.execute(RESTORED)

    assert (await log.keeper.ensure()).last_sequence == last

    ours = ("s10", 10)
    others = {"Email": ("e7", 8), "Mailbox": ("m1", 2)}
    own_types = ("ContactCard", "AddressBook", "Principal", "Todo")
    assert await told(pool) == {"a1": {**dict.fromkeys(own_types, ours), **others}}
    assert await pool.fetchval("SELECT modseq FROM accounts WHERE id = 'a1'") == 10
    rows = await pool.fetch("SELECT type, history_from FROM type_states WHERE account_id = 'a1'")
    assert {row["type"]: row["history_from"] for row in rows} == dict.fromkeys(
        own_types, 10
    ) | dict.fromkeys(others, 0)
    known = await read_log(pool, STREAM)
    assert known is not None
    assert (known.is_compared, known.highest_sequence) == (True, last)


async def test_it_is_done_once_whoever_died_after_it(log: WritableLog, pool: asyncpg.Pool) -> None:
    await account(pool, "a1", 5, ContactCard=5)
    await tell(log, "a1", ContactCard=OrderedState("s9", 9))
    for _ in range(2):  # the second time as if the first had died before it was noted
        await pool.execute(RESTORED)
        await log.keeper.ensure()
    assert await told(pool) == {"a1": {"ContactCard": ("s10", 10)}}


async def test_a_database_that_knows_all_is_left_as_it_is(
    log: WritableLog, pool: asyncpg.Pool
) -> None:
    await account(pool, "a1", 9, ContactCard=9)
    for order in (7, 8, 9):
        await tell(log, "a1", ContactCard=OrderedState(f"s{order}", order))
    await tell(log, "nobody", ContactCard=OrderedState("s3", 3))
    await account(pool, "a2", 2, ContactCard=2)
    await pool.execute("UPDATE accounts SET removed_at = now() WHERE id = 'a2'")
    await tell(log, "a2", ContactCard=OrderedState("s3", 3))
    await pool.execute(RESTORED)
    await log.keeper.ensure()

    assert await told(pool) == {}
    assert await pool.fetchval("SELECT modseq FROM accounts WHERE id = 'a1'") == 9


async def test_what_is_appended_before_the_comparison_hides_nothing(
    log: WritableLog, pool: asyncpg.Pool
) -> None:
    """A dispatcher that runs on notes how far the log is; the place to compare from must stay."""
    epoch = (await log.keeper.verify()).epoch
    await account(pool, "a1", 5, ContactCard=5)
    await account(pool, "a2", 1)
    await tell(log, "a1", ContactCard=OrderedState("s9", 9))
    await pool.execute(RESTORED)
    last = await tell(log, "a2", ContactCard=OrderedState("s1", 1))
    await row(pool, "a2", "ContactCard", "s1", 1)
    await mark_published(pool, {1: last}, stream=STREAM, epoch=epoch)
    await log.keeper.ensure()

    assert (await told(pool)).keys() == {"a1"}


async def test_a_rebuild_does_not_take_back_what_the_log_told(
    log: WritableLog, pool: asyncpg.Pool, clean_nats_url: str
) -> None:
    """Whether it was asked for, or the backup is of before the log's last rebuild."""
    await account(pool, "a1", 5, ContactCard=5)
    await tell(log, "a1", ContactCard=OrderedState("s9", 9))
    await pool.execute(RESTORED)
    await pool.execute("UPDATE logs SET epoch = 'before'")
    sound = await log.keeper.rebuild()

    async with open_readable_log(clean_nats_url, pool, name="test") as readable:
        events = await whole_log(readable, sound.last_sequence)
    assert changed_since(events["a1"][-1], 0) == {"ContactCard": "s10"}
