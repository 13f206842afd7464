"""A request that is asked again, under one Idempotency-Key: one event, one answer."""

import asyncio
from datetime import timedelta

import pytest

from shared.log.cursor import decode_cursor
from shared.store.appends import forget_keys
from shared.store.credentials import issue_token
from shared.store.people import add_user
from tests.support.appends import RunningAppendApi, append_api_running, change
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


async def test_the_same_answer_and_no_second_event(api: RunningAppendApi) -> None:
    account = await api.account()
    first = await api.append({account: {"Email": "e1"}}, key="k1")
    await api.append({account: {"Email": "e2"}}, key="k2")
    assert await api.append({account: {"Email": "e1"}}, key="k1") == first
    told = [stored.event.changed["Email"].state for stored in await api.events(account)]
    assert told == ["e1", "e2"]


async def test_what_was_not_appended_is_said_again(api: RunningAppendApi) -> None:
    account = await api.account()
    body = change({account: {"Email": "e1"}, "anobody": {"Email": "e1"}})
    first, second = [await api.post(body, key="k1") for _ in range(2)]
    assert first.json()["notAppended"].keys() == {"anobody"}
    assert second.json() == first.json()


async def test_whose_accounts_are_gone_before_it_was_appended_is_told_so(
    api: RunningAppendApi,
) -> None:
    """What the first request could not keep is not kept by the second, in its place."""
    account = await api.account()
    body = change({account: {"Email": "e1"}, "alater": {"Email": "e1"}})
    assert (await api.post(body, key="k1")).json()["notAppended"].keys() == {"alater"}
    # As if the process had died after the commit.
    await api.pool.execute("UPDATE append_keys SET cursor = NULL")
    await api.pool.execute("INSERT INTO accounts VALUES ('alater', 'later', false)")
    await api.pool.execute("DELETE FROM accounts WHERE id = $1", account)
    response = await api.post(body, key="k1")
    assert response.status_code == 404
    refused = response.json()["notAppended"]
    assert {key: problem["type"] for key, problem in refused.items()} == {
        account: "accountNotFound",
        "alater": "accountNotFound",
    }


async def test_a_key_is_of_one_request(api: RunningAppendApi) -> None:
    account = await api.account()
    await api.append({account: {"Email": "e1"}}, key="k1")
    response = await api.post(change({account: {"Email": "e2"}}), key="k1")
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert await api.states(account) == {"Email": "e1"}


async def test_a_key_is_of_one_user(api: RunningAppendApi) -> None:
    await add_user(api.pool, "bob")
    _, token = await issue_token(api.pool, "bob", ["append"])
    account = await api.account()
    await api.append({account: {"Email": "e1"}}, key="k1")
    response = await api.post(change({account: {"Email": "e2"}}), key="k1", token=token)
    assert response.status_code == 200
    assert await api.states(account) == {"Email": "e2"}


async def test_a_refused_request_leaves_its_key(api: RunningAppendApi) -> None:
    """Whoever makes the account then may ask again."""
    body = change({"alater": {"Email": "e1"}})
    assert (await api.post(body, key="k1")).status_code == 404
    await api.pool.execute("INSERT INTO accounts VALUES ('alater', 'later', false)")
    assert (await api.post(body, key="k1")).status_code == 200


async def test_keys_are_forgotten_after_their_time(api: RunningAppendApi) -> None:
    account = await api.account()
    await api.append({account: {"Email": "e1"}}, key="k1")
    assert await forget_keys(api.pool, older_than=timedelta(hours=24), keys_max=10) == 0
    await api.pool.execute("UPDATE append_keys SET at = now() - interval '25 hours'")
    assert await forget_keys(api.pool, older_than=timedelta(hours=24), keys_max=10) == 1


async def test_two_dispatchers_that_are_asked_at_once_make_one_event(
    api: RunningAppendApi, clean_nats_url: str, postgres_dsn: str
) -> None:
    account = await api.account()
    async with append_api_running(clean_nats_url, postgres_dsn) as other:
        other.token = api.token
        for n in range(20):
            cursors = await asyncio.gather(
                *(
                    side.append({account: {"Email": f"e{n}"}}, key=f"k{n}")
                    for side in (api, other, api, other)
                )
            )
            assert len(set(cursors)) == 1
    told = [stored.event.changed["Email"].state for stored in await api.events(account)]
    assert told == [f"e{n}" for n in range(20)]


async def test_a_retry_after_the_first_one_died_between_commit_and_append(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    """It is appended by the retry, or by the sweeper, and told once; the answers are one."""
    async with append_api_running(clean_nats_url, postgres_dsn, is_relaying=False) as dying:
        account = await dying.account()
        token = dying.token
        asking = asyncio.gather(
            dying.append({account: {"Email": "e1"}}, key="k1"), return_exceptions=True
        )
        await eventually(lambda: _kept(dying, account))
        asking.cancel()
    async with (
        append_api_running(clean_nats_url, postgres_dsn) as api,
        append_api_running(clean_nats_url, postgres_dsn) as other,
    ):
        api.token = other.token = token
        first, second = await asyncio.gather(
            api.append({account: {"Email": "e1"}}, key="k1"),
            other.append({account: {"Email": "e1"}}, key="k1"),
        )
        await eventually(lambda: _all_published(api), seconds=15)
        third = await api.append({account: {"Email": "e1"}}, key="k1")
        [stored] = await api.events(account)
        assert stored.event.changed["Email"].state == "e1"
        assert first == second == third
        cursor = decode_cursor(first)
        assert cursor is not None
        assert cursor.sequence == stored.sequence


async def test_what_a_dead_dispatcher_kept_is_swept_without_a_retry(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with append_api_running(clean_nats_url, postgres_dsn, is_relaying=False) as dying:
        account = await dying.account()
        asking = asyncio.gather(dying.append({account: {"Email": "e1"}}), return_exceptions=True)
        await eventually(lambda: _kept(dying, account))
        asking.cancel()
    async with append_api_running(clean_nats_url, postgres_dsn) as api:
        await eventually(lambda: _all_published(api), seconds=15)
        assert await api.states(account) == {"Email": "e1"}


async def test_many_keys_that_repeat_under_load_are_counted_once(
    api: RunningAppendApi, clean_nats_url: str, postgres_dsn: str
) -> None:
    """Each state is appended under its key by several producers: an account's counter tells."""
    accounts = [await api.account() for _ in range(5)]
    async with append_api_running(clean_nats_url, postgres_dsn) as other:
        other.token = api.token

        async def producer(side: RunningAppendApi, seed: int) -> None:
            for n in range(30):
                account = accounts[(n + seed) % 5]
                await side.append({account: {"Email": f"e{n}"}}, key=f"{account}-{n}")

        await asyncio.gather(*(producer((api, other)[n % 2], 5 * n) for n in range(6)))
    orders = await api.pool.fetch("SELECT ord FROM type_states WHERE type = 'Email'")
    assert [row["ord"] for row in orders] == [6] * 5


async def _kept(api: RunningAppendApi, account_id: str) -> bool:
    kept: int = await api.pool.fetchval(
        "SELECT count(*) FROM outbox WHERE account_id = $1 AND states ? 'Email'", account_id
    )
    return kept > 0


async def _all_published(api: RunningAppendApi) -> bool:
    left: int = await api.pool.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")
    return left == 0
