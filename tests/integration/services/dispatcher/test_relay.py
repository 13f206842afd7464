"""Outbox to log, over real servers that come and go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from services.dispatcher.relay import Relay
from shared.log.event import Cause, OrderedState, changed_since
from shared.log.open_log import WritableLog, open_readable_log
from shared.runtime.clock import SystemClock
from shared.runtime.metrics import Metrics
from shared.store.migrate import migrate
from shared.store.outbox import OutboxEntry, insert_outbox
from shared.store.pool import open_pool
from tests.support.eventually import eventually
from tests.support.servers import NatsServer, PostgresServer
from tests.support.stress import open_writer, running, whole_log

pytestmark = pytest.mark.integration


@asynccontextmanager
async def _relay(
    url: str, pool: asyncpg.Pool, metrics: Metrics | None = None
) -> AsyncIterator[tuple[Relay, WritableLog]]:
    metrics = metrics or Metrics()
    async with open_writer(url, pool) as log:
        relay = Relay(pool, log, SystemClock(), metrics)
        async with running(relay.run()):
            yield relay, log


async def _commit(pool: asyncpg.Pool, account_id: str, order: int) -> OutboxEntry:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO accounts (id, name, is_personal) VALUES ($1, $1, true)"
            " ON CONFLICT DO NOTHING",
            account_id,
        )
        states = {"Email": OrderedState(f"s{order}", order)}
        return await insert_outbox(connection, account_id, states, Cause(method="Email/set"))


async def _fail_after_the_outbox(pool: asyncpg.Pool, account_id: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO accounts (id, name, is_personal) VALUES ($1, $1, true)", account_id
        )
        states = {"Email": OrderedState("s1", 1), "Thread": OrderedState("t1", 1)}
        await insert_outbox(connection, account_id, states, Cause(method="Email/set"))
        await connection.execute("INSERT INTO accounts (id, name) VALUES ('a2', NULL)")


async def _all_published(pool: asyncpg.Pool) -> bool:
    count: int = await pool.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")
    return count == 0


async def _newest(url: str, pool: asyncpg.Pool) -> dict[str, dict[str, str]]:
    async with open_readable_log(url, pool, name="test") as log:
        truth = await whole_log(log, (await log.keeper.verify()).last_sequence)
    return {account: changed_since(events[-1], 0) for account, events in truth.items()}


async def test_what_the_relay_sees_commit_is_appended_and_marked_with_its_sequence(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    metrics = Metrics()
    async with (
        open_pool(postgres_dsn) as pool,
        _relay(clean_nats_url, pool, metrics) as (relay, log),
    ):
        entry = await _commit(pool, "a1", 1)
        relay.wake(entry)

        await eventually(lambda: _is_published(pool, entry.id))
        sequence = await pool.fetchval("SELECT sequence FROM outbox WHERE id = $1", entry.id)
        sound = await log.keeper.verify()
        assert sequence == sound.last_sequence
        highest = await pool.fetchval("SELECT highest_sequence FROM logs")
        assert highest == sound.last_sequence
        assert b'tidings_appends_total{outcome="appended"} 1.0' in metrics.text()
        assert b"tidings_append_seconds_count 1.0" in metrics.text()


async def test_what_waits_of_one_account_becomes_one_event(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool, _relay(clean_nats_url, pool) as (relay, log):
        before = (await log.keeper.verify()).last_sequence
        for entry in [await _commit(pool, "a1", order) for order in range(1, 51)]:
            relay.wake(entry)
        await eventually(lambda: _all_published(pool))
        after = (await log.keeper.verify()).last_sequence
        assert before < after < before + 50
        assert await _newest(clean_nats_url, pool) == {"a1": {"Email": "s50"}}


async def test_what_a_dead_process_committed_is_swept(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    """The crash between commit and append: the row is all that is left of it."""
    async with open_pool(postgres_dsn) as pool:
        entries = [await _commit(pool, f"a{n % 7}", n) for n in range(1, 40)]
        async with _relay(clean_nats_url, pool), _relay(clean_nats_url, pool):
            await eventually(lambda: _is_published(pool, entries[-1].id), seconds=15)
            await eventually(lambda: _all_published(pool), seconds=15)
        newest = await _newest(clean_nats_url, pool)
        assert {states["Email"] for states in newest.values()} == {f"s{n}" for n in range(33, 40)}


async def test_what_was_rolled_back_is_never_told(clean_nats_url: str, postgres_dsn: str) -> None:
    """One change fails after its row in the outbox; the next one of the account does not."""
    async with open_pool(postgres_dsn) as pool, _relay(clean_nats_url, pool) as (relay, _):
        with pytest.raises(asyncpg.NotNullViolationError):
            await _fail_after_the_outbox(pool, "a1")
        assert await pool.fetchval("SELECT count(*) FROM outbox") == 0
        relay.wake(await _commit(pool, "a1", 2))
        await eventually(lambda: _all_published(pool))
        assert await _newest(clean_nats_url, pool) == {"a1": {"Email": "s2"}}


async def test_commits_during_an_outage_of_nats_arrive_after_it(
    fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool, _relay(fresh_nats.url, pool) as (relay, _):
        fresh_nats.kill()
        for order in range(1, 30):
            relay.wake(await _commit(pool, f"a{order % 5}", order))
        await asyncio.to_thread(fresh_nats.start)
        await eventually(lambda: _all_published(pool), seconds=30)
        newest = await _newest(fresh_nats.url, pool)
        assert {states["Email"] for states in newest.values()} == {f"s{n}" for n in range(25, 30)}


async def test_the_relay_goes_on_after_postgresql_was_killed(
    fresh_nats: NatsServer, fresh_postgres: PostgresServer
) -> None:

    await migrate(fresh_postgres.dsn)
    async with (
        open_pool(fresh_postgres.dsn) as pool,
        _relay(fresh_nats.url, pool) as (relay, _),
    ):
        relay.wake(await _commit(pool, "a1", 1))
        fresh_postgres.kill()
        await asyncio.to_thread(fresh_postgres.start)
        committed: list[OutboxEntry] = []
        await eventually(lambda: _try_commit(pool, committed), seconds=30)
        relay.wake(committed[0])
        await eventually(lambda: _all_published(pool), seconds=30)
        assert await _newest(fresh_nats.url, pool) == {"a1": {"Email": "s2"}}


async def _try_commit(pool: asyncpg.Pool, committed: list[OutboxEntry]) -> bool:
    try:
        committed.append(await _commit(pool, "a1", 2))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return False
    return True


async def _is_published(pool: asyncpg.Pool, entry_id: int | None) -> bool:
    published: bool = await pool.fetchval(
        "SELECT published_at IS NOT NULL FROM outbox WHERE id = $1", entry_id
    )
    return published
