"""What a producer is told while something is away, and what becomes of what was kept."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from shared.store.migrate import migrate
from tests.support.appends import RunningAppendApi, append_api_running, change
from tests.support.eventually import PATIENCE, eventually
from tests.support.servers import NatsServer, PostgresServer

pytestmark = pytest.mark.integration


@pytest.fixture
async def api(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[RunningAppendApi]:
    async with append_api_running(fresh_nats.url, postgres_dsn) as running:
        yield running


def is_to_be_asked_again(response: httpx.Response) -> bool:
    return response.status_code == 503 and response.headers["retry-after"] == "1"


async def appended(api: RunningAppendApi, account_id: str, state: str, key: str) -> str:
    """Asks as a producer does: again and again with one key, until it is answered."""

    async def cursor() -> str:
        response = await api.post(change({account_id: {"Email": state}}), key=key)
        assert response.status_code in (200, 503), response.text
        return str(response.json().get("cursor", ""))

    return await eventually(cursor, seconds=30)


async def test_without_nats_nothing_is_kept_and_who_asks_again_succeeds(
    api: RunningAppendApi, fresh_nats: NatsServer
) -> None:
    account = await api.account()
    await api.append({account: {"Email": "e1"}})
    await asyncio.to_thread(fresh_nats.kill)
    await eventually(lambda: not api.log.guard.is_sound)
    response = await api.post(change({account: {"Email": "e2"}}), key="k2")
    assert is_to_be_asked_again(response)
    assert response.headers["content-type"] == "application/problem+json"
    assert not await api.pool.fetchval("SELECT count(*) FROM append_keys")
    await asyncio.to_thread(fresh_nats.start)
    await appended(api, account, "e2", "k2")
    assert await api.states(account) == {"Email": "e2"}


async def test_what_was_kept_when_nats_froze_is_appended_once(
    api: RunningAppendApi, fresh_nats: NatsServer
) -> None:
    """The commit is done, the acknowledgement does not come: 503, then one event."""
    account = await api.account()
    await api.append({account: {"Email": "e1"}})
    fresh_nats.pause()
    try:
        response = await api.post(change({account: {"Email": "e2"}}), key="k2")
    finally:
        fresh_nats.resume()
    assert is_to_be_asked_again(response)
    cursor = await appended(api, account, "e2", "k2")
    assert await appended(api, account, "e2", "k2") == cursor
    told = [stored.event.changed["Email"].state for stored in await api.events(account)]
    assert told == ["e1", "e2"]


async def test_without_postgresql_who_asks_again_succeeds(
    fresh_nats: NatsServer, fresh_postgres: PostgresServer
) -> None:
    await migrate(fresh_postgres.dsn)
    async with append_api_running(fresh_nats.url, fresh_postgres.dsn) as api:
        account = await api.account()
        await api.append({account: {"Email": "e1"}})
        fresh_postgres.kill()
        response = await api.post(change({account: {"Email": "e2"}}), key="k2")
        assert is_to_be_asked_again(response)
        await asyncio.to_thread(fresh_postgres.start)
        await appended(api, account, "e2", "k2")
        assert await api.states(account) == {"Email": "e2"}


async def test_an_account_that_somebody_holds_does_not_hold_up_the_others(
    api: RunningAppendApi,
) -> None:
    held, *others = [await api.account() for _ in range(20)]
    async with api.pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", held)
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(api.post(change({held: {"Email": "e1"}})))
                async with asyncio.timeout(2 * PATIENCE):
                    await asyncio.gather(
                        *(api.append({account: {"Email": "e1"}}) for account in others)
                    )
                assert not waiting.done()
                assert is_to_be_asked_again(await waiting)  # after 3 s
        await appended(api, held, "e2", "k2")
    assert await api.states(held) == {"Email": "e2"}


async def test_who_waits_for_an_account_is_answered_when_it_is_free(
    api: RunningAppendApi,
) -> None:
    account = await api.account()
    async with api.pool.acquire() as connection, asyncio.TaskGroup() as tasks:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM accounts WHERE id = $1 FOR UPDATE", account)
            waiting = tasks.create_task(api.post(change({account: {"Email": "e1"}})))
            await eventually(lambda: _waits_alone(api))
        assert (await waiting).status_code == 200
    assert await api.states(account) == {"Email": "e1"}


async def _waits_alone(api: RunningAppendApi) -> bool:
    """For a lock, and past the time that a round waits for one."""
    waited: bool = await api.pool.fetchval(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND now() - query_start > interval '0.4 seconds'"
    )
    return waited


async def test_producers_that_ask_again_lose_nothing_while_nats_is_killed(
    api: RunningAppendApi, fresh_nats: NatsServer
) -> None:
    """Each state has an event, in the order in which its producer had it answered, and one."""
    accounts = [await api.account() for _ in range(8)]
    done: dict[str, int] = dict.fromkeys(accounts, 0)

    async def producer(account: str) -> None:
        for n in range(40):
            await appended(api, account, f"e{n}", f"{account}-{n}")
            done[account] = n

    async with asyncio.TaskGroup() as tasks:
        for account in accounts:
            tasks.create_task(producer(account))
        for wanted in (5, 15, 25):
            await eventually(lambda wanted=wanted: min(done.values()) > wanted, seconds=60)  # type: ignore[misc]
            await asyncio.to_thread(fresh_nats.kill)
            await asyncio.to_thread(fresh_nats.start)
    for account in accounts:
        told = [stored.event.changed["Email"].state for stored in await api.events(account)]
        assert told == [f"e{n}" for n in range(40)]


async def test_a_rebuilt_log_has_the_states_of_others(api: RunningAppendApi) -> None:
    """The store of NATS is lost; PostgreSQL knows it all."""
    accounts = [await api.account() for _ in range(5)]
    await api.append({account: {"Email": "e1", "Mailbox": "m1"} for account in accounts})
    await api.append({accounts[0]: {"Email": "e7"}}, {accounts[0]: {"Email": 7}})
    await api.append({accounts[1]: {"Email": "e2"}})
    before = {account: await api.states(account) for account in accounts}
    old = await api.append({accounts[2]: {"Email": "e3"}}, key="k3")
    before[accounts[2]]["Email"] = "e3"

    await api.log.keeper.rebuild()
    api.log.guard.doubt()
    api.log.appender.forget()
    await api.log.guard.epoch()

    assert {account: await api.states(account) for account in accounts} == before
    assert await api.append({accounts[2]: {"Email": "e3"}}, key="k3") == old
    await appended(api, accounts[0], "e8", "k8")
    late = change({accounts[0]: {"Email": "e6"}}, {accounts[0]: {"Email": 6}})
    assert (await api.post(late)).status_code == 200
    assert (await api.states(accounts[0]))["Email"] == "e8"
