"""A removed account: nothing of it is left, and nothing brings it back (docs/adr/0022)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from services.dispatcher.relay import Relay
from shared.bus.jetstream import JetStream
from shared.log.appender import LogUnavailableError
from shared.log.event import Cause, OrderedState
from shared.log.open_log import WritableLog, open_readable_log
from shared.log.removals import AccountRemovals
from shared.log.subjects import STREAM
from shared.runtime.clock import SystemClock
from shared.runtime.metrics import Metrics
from shared.store.outbox import OutboxEntry
from shared.store.people import UnknownNameError, add_account, add_grant, add_user, find_account
from shared.store.pool import open_pool
from shared.store.removals import (
    begin_removal,
    erase_rows,
    find_account_to_remove,
    forget_account,
    note_ended,
)
from tests.support.eventually import eventually
from tests.support.secrets_on_disk import found_in
from tests.support.servers import NatsServer
from tests.support.stress import AT, open_writer, running, whole_log

pytestmark = pytest.mark.integration

NOW = timedelta(0)
NEEDLE = "needle-in-the-log"


async def append(log: WritableLog, account_id: str, order: int) -> int:
    states = {"Email": OrderedState(f"{NEEDLE}-{order}", order)}
    return await log.appender.append(account_id, states, at=AT, cause=Cause(principal=NEEDLE))


async def an_account(pool: asyncpg.Pool, log: WritableLog, name: str = "old") -> str:
    """With three events in the log."""
    account_id = await add_account(pool, name)
    await pool.execute(
        "INSERT INTO type_states (account_id, type, state, ord) VALUES ($1, 'Email', 's3', 3)",
        account_id,
    )
    for order in (1, 2, 3):
        await append(log, account_id, order)
    return account_id


async def removed(pool: asyncpg.Pool, log: WritableLog, account_id: str) -> AccountRemovals:
    removals = AccountRemovals(pool, log.eraser)
    begun = await begin_removal(pool, account_id)
    await removals.end(account_id, begun.removed_at)
    return removals


async def events_of(url: str, pool: asyncpg.Pool, account_id: str) -> list[bool]:
    """Of each event that the log has of the account: whether it is the tombstone."""
    async with open_readable_log(url, pool, name="test") as log:
        truth = await whole_log(log, (await log.keeper.verify()).last_sequence)
    return [stored.event.is_removal for stored in truth.get(account_id, [])]


async def rows_of(pool: asyncpg.Pool, account_id: str) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM accounts WHERE id = $1", account_id)
    return count


@asynccontextmanager
async def relaying(pool: asyncpg.Pool, log: WritableLog) -> AsyncIterator[Relay]:
    relay = Relay(pool, log, SystemClock(), Metrics())
    async with running(relay.run()):
        yield relay


def late_entry(account_id: str) -> OutboxEntry:
    """As a dispatcher may still have it in hand, whatever became of its row."""
    return OutboxEntry(
        None, account_id, {"Email": OrderedState("s9", 9)}, Cause(), datetime.now(UTC)
    )


async def test_of_a_removed_account_the_log_has_a_tombstone_and_later_nothing(
    fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    """Not even its bytes are in the files of the server."""
    async with open_pool(postgres_dsn) as pool, open_writer(fresh_nats.url, pool) as log:
        account_id = await an_account(pool, log)
        store = [fresh_nats.store_dir]
        assert found_in(store, [NEEDLE.encode()])
        removals = await removed(pool, log, account_id)

        assert await events_of(fresh_nats.url, pool, account_id) == [True]
        assert not await asyncio.to_thread(found_in, store, [NEEDLE.encode()])
        assert await removals.go_on() == []
        await log.appender.append("other", {"Email": OrderedState("s1", 1)}, at=AT, cause=Cause())
        assert await removals.go_on(tombstone_kept=NOW) == [account_id]
        assert await events_of(fresh_nats.url, pool, account_id) == []
        assert await rows_of(pool, account_id) == 0


async def test_a_tombstone_at_the_end_of_the_log_stays_until_something_follows(
    fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    """Else a gateway that starts would wait for the log's last message, and NATS might reuse it."""
    async with open_pool(postgres_dsn) as pool, open_writer(fresh_nats.url, pool) as log:
        account_id = await an_account(pool, log)
        removals = await removed(pool, log, account_id)

        assert await removals.go_on(tombstone_kept=NOW) == []
        fresh_nats.kill()
        await asyncio.to_thread(fresh_nats.start)
        await eventually(lambda: _is_sound(log), seconds=20)
        assert await events_of(fresh_nats.url, pool, account_id) == [True]
        await log.appender.append("other", {"Email": OrderedState("s1", 1)}, at=AT, cause=Cause())
        assert await removals.go_on(tombstone_kept=NOW) == [account_id]


async def _is_sound(log: WritableLog) -> bool:
    await asyncio.sleep(0)
    return log.guard.is_sound


async def test_whoever_comes_too_late_with_a_state_does_not_bring_the_account_back(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    """A dispatcher that was cut off while the account was removed has rows of it in hand."""
    async with (
        open_pool(postgres_dsn) as pool,
        open_writer(clean_nats_url, pool) as log,
        relaying(pool, log) as relay,
    ):
        account_id = await an_account(pool, log)
        removals = await removed(pool, log, account_id)
        assert await relay.follow(late_entry(account_id)) > 0
        assert await events_of(clean_nats_url, pool, account_id) == [True]

        other = await add_account(pool, "other")
        await relay.follow(late_entry(other))
        await removals.go_on(tombstone_kept=NOW)
        log.appender.forget()
        assert await relay.follow(late_entry(account_id)) == 0
        assert await events_of(clean_nats_url, pool, account_id) == []


async def test_a_rebuilt_log_does_not_have_it(clean_nats_url: str, postgres_dsn: str) -> None:
    """From the first commit of its removal on, also when nothing else of it was done yet."""
    async with open_pool(postgres_dsn) as pool, open_writer(clean_nats_url, pool) as log:
        account_id, kept = await an_account(pool, log), await an_account(pool, log, "kept")
        begun = await begin_removal(pool, account_id)
        await log.keeper.rebuild()

        assert await events_of(clean_nats_url, pool, account_id) == []
        assert await events_of(clean_nats_url, pool, kept) == [False]
        await AccountRemovals(pool, log.eraser).end(account_id, begun.removed_at)
        assert await events_of(clean_nats_url, pool, account_id) == [True]


@pytest.mark.parametrize("steps", range(5))
async def test_wherever_a_removal_died_a_dispatcher_takes_it_to_its_end(
    steps: int, clean_nats_url: str, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool, open_writer(clean_nats_url, pool) as log:
        account_id = await an_account(pool, log)
        begun = await begin_removal(pool, account_id)
        works = [
            log.eraser.end(account_id, at=AT, cause=Cause()),
            erase_rows(pool, account_id),
            note_ended(pool, account_id),
            log.eraser.forget(account_id),
        ]
        for number, work in enumerate(works):
            if number < steps:
                await work
            else:
                work.close()
        assert (await begin_removal(pool, account_id)).removed_at == begun.removed_at

        removals = AccountRemovals(pool, log.eraser)
        await removals.go_on(tombstone_kept=NOW)
        await log.appender.append("other", {"Email": OrderedState("s1", 1)}, at=AT, cause=Cause())
        await removals.go_on(tombstone_kept=NOW)
        assert await events_of(clean_nats_url, pool, account_id) == []
        assert await rows_of(pool, account_id) == 0


async def test_several_may_remove_the_same_accounts_at_once(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool, open_writer(clean_nats_url, pool) as log:
        accounts = [await an_account(pool, log, f"old {number}") for number in range(4)]
        for account_id in accounts:
            await begin_removal(pool, account_id)
        removals = AccountRemovals(pool, log.eraser)
        await asyncio.gather(*(removals.go_on() for _ in range(3)))
        assert [await events_of(clean_nats_url, pool, it) for it in accounts] == [[True]] * 4

        await log.appender.append("other", {"Email": OrderedState("s1", 1)}, at=AT, cause=Cause())
        await asyncio.gather(*(removals.go_on(tombstone_kept=NOW) for _ in range(3)))
        assert sum([await rows_of(pool, it) for it in accounts]) == 0


async def test_while_nats_is_away_the_rows_go_and_the_events_later(
    fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool, open_writer(fresh_nats.url, pool) as log:
        account_id = await an_account(pool, log)
        fresh_nats.kill()
        with pytest.raises(LogUnavailableError):
            await removed(pool, log, account_id)
        for table in ("records", "type_states", "outbox"):
            statement = f"SELECT count(*) FROM {table} WHERE account_id = $1"
            assert await pool.fetchval(statement, account_id) == 0
        with pytest.raises(UnknownNameError):
            await find_account(pool, account_id)

        await asyncio.to_thread(fresh_nats.start)
        await eventually(lambda: _is_sound(log), seconds=20)
        await AccountRemovals(pool, log.eraser).go_on()
        assert await events_of(fresh_nats.url, pool, account_id) == [True]


async def test_an_erased_message_is_erased_again_without_harm(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool, open_writer(clean_nats_url, pool) as log:
        first = await append(log, "a1", 1)
        await append(log, "a1", 2)
        jetstream = JetStream(log.bus)
        await jetstream.erase_message(STREAM, first)
        await jetstream.erase_message(STREAM, first)


async def test_of_several_accounts_of_a_name_only_an_id_says_which_one(postgres_dsn: str) -> None:
    async with open_pool(postgres_dsn) as pool:
        first, second = await add_account(pool, "twin"), await add_account(pool, "twin")
        with pytest.raises(UnknownNameError):
            await find_account_to_remove(pool, "twin")
        assert await find_account_to_remove(pool, first) == (first, "twin")
        await begin_removal(pool, first)
        assert await find_account_to_remove(pool, "twin") == (second, "twin")
        await begin_removal(pool, second)
        with pytest.raises(UnknownNameError):
            await find_account_to_remove(pool, "twin")
        await forget_account(pool, first)
        assert await find_account_to_remove(pool, "twin") == (second, "twin")
        with pytest.raises(UnknownNameError):
            await begin_removal(pool, first)


async def test_nobody_is_granted_an_account_that_is_being_removed(postgres_dsn: str) -> None:
    async with open_pool(postgres_dsn) as pool:
        user_id, _ = await add_user(pool, "ada")
        account_id = await add_account(pool, "old")
        await add_grant(pool, account_id, "ada", "write")
        assert (await begin_removal(pool, account_id)).user_ids == {user_id}
        with pytest.raises(UnknownNameError):
            await add_grant(pool, account_id, "ada", "write")
