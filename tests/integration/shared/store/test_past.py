"""The past that triggers write: complete, bounded, and gone with what it is about."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from shared.store.credentials import revoke_token
from shared.store.past import forget_past
from shared.store.people import add_account, add_grant, add_user, remove_grant
from shared.store.pool import open_pool
from shared.store.push_subscriptions import (
    delete_ended_push_subscriptions,
    delete_push_subscriptions,
    update_push_subscription,
)
from tests.support.webhooks import WebhookBench, WebhookUser, webhook_bench

pytestmark = pytest.mark.integration

URL = "http://127.0.0.1:9/"


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(postgres_dsn) as pool:
        yield pool


@pytest.fixture
async def bench(clean_nats_url: str, postgres_dsn: str) -> AsyncIterator[WebhookBench]:
    async with webhook_bench(clean_nats_url, postgres_dsn) as bench:
        yield bench


async def changes(pool: asyncpg.Pool, account_id: str) -> list[tuple[Any, ...]]:
    rows = await pool.fetch(
        """
        SELECT role_before, subscribed_before, role_after, subscribed_after FROM grant_changes
        WHERE account_id = $1 ORDER BY id
        """,
        account_id,
    )
    return [tuple(row) for row in rows]


async def test_each_change_of_a_grant_is_kept_whoever_makes_it(pool: asyncpg.Pool) -> None:
    user_id, _ = await add_user(pool, "ada")
    account_id = await add_account(pool, "team")
    await add_grant(pool, account_id, user_id, "read")
    await add_grant(pool, account_id, user_id, "read")  # is no change
    await add_grant(pool, account_id, user_id, "write")
    await pool.execute(
        "UPDATE grants SET is_subscribed = NOT is_subscribed WHERE account_id = $1", account_id
    )
    await remove_grant(pool, account_id, user_id)
    found = await changes(pool, account_id)
    assert [(before, after) for before, _, after, _ in found] == [
        (None, "read"),
        ("read", "write"),
        ("write", "write"),
        ("write", None),
    ]
    assert found[2][1] is not found[2][3]


async def test_the_past_of_a_grant_is_bounded(pool: asyncpg.Pool) -> None:
    user_id, _ = await add_user(pool, "ada")
    account_id = await add_account(pool, "team")
    await add_grant(pool, account_id, user_id, "read")
    for _ in range(40):
        await pool.execute(
            "UPDATE grants SET is_subscribed = NOT is_subscribed WHERE account_id = $1", account_id
        )
    found = await changes(pool, account_id)
    assert len(found) == 32
    assert (None, None, "read", True) not in found, "the oldest goes first"


@pytest.mark.parametrize("table", ["accounts", "users"])
async def test_the_past_goes_with_its_account_or_user(pool: asyncpg.Pool, table: str) -> None:
    user_id, _ = await add_user(pool, "ada")
    account_id = await add_account(pool, "team")
    await add_grant(pool, account_id, user_id, "read")
    gone = account_id if table == "accounts" else user_id
    await pool.execute(f"DELETE FROM {table} WHERE id = $1", gone)
    assert await changes(pool, account_id) == []


async def test_what_is_old_is_forgotten(pool: asyncpg.Pool) -> None:
    user_id, personal = await add_user(pool, "ada")
    account_id = await add_account(pool, "team")
    await add_grant(pool, account_id, user_id, "read")
    await pool.execute(
        "UPDATE grant_changes SET at = now() - interval '40 days' WHERE account_id = $1", account_id
    )
    assert await forget_past(pool, older_than=timedelta(days=31), rows_max=100) == 1
    assert await changes(pool, account_id) == []
    assert await changes(pool, personal) == [(None, None, "owner", True)]


async def ended(bench: WebhookBench) -> dict[str, str]:
    rows = await bench.pool.fetch("SELECT id, because FROM ended_push_subscriptions")
    return {row["id"]: row["because"] for row in rows}


async def test_why_a_subscription_ended_is_kept(bench: WebhookBench) -> None:
    ada, bob = await bench.user(), await bench.user()
    names = ("destroyed", "gone", "unknown", "expired", "key_retired")
    ids = {name: await bench.subscribe(ada, URL) for name in names}
    ids["credential_revoked"] = await bench.subscribe(bob, URL)
    pool = bench.pool
    async with pool.acquire() as connection, connection.transaction():
        await delete_push_subscriptions(connection, [ids["destroyed"]], because="destroyed")
    async with pool.acquire() as connection, connection.transaction():
        await delete_push_subscriptions(connection, [ids["gone"]], because="gone")
    # By a program of an older version.
    await pool.execute("DELETE FROM push_subscriptions WHERE id = $1", ids["unknown"])
    await pool.execute(
        "UPDATE push_subscriptions SET ends_at = now() WHERE id = $1", ids["expired"]
    )
    await revoke_token(pool, bob.token_id)
    async with pool.acquire() as connection, connection.transaction():
        await delete_ended_push_subscriptions(connection, count_max=10)
    await pool.execute("UPDATE vapid_keys SET retires_at = now()")
    async with pool.acquire() as connection, connection.transaction():
        await delete_ended_push_subscriptions(connection, count_max=10)
    assert await ended(bench) == {id_: name for name, id_ in ids.items()}


async def test_of_one_that_ended_no_secret_is_kept_and_a_user_has_a_hundred(
    bench: WebhookBench,
) -> None:
    user = await bench.user()
    ids = [await bench.subscribe(user, URL) for _ in range(3)]
    rows = await bench.pool.fetch("SELECT * FROM push_subscriptions LIMIT 1")
    assert "sealed" in rows[0]
    await bench.pool.execute(
        """
        INSERT INTO ended_push_subscriptions (id, user_id, created_at, because, ended_at)
        SELECT 'old' || n, $1, now(), 'gone', now() - interval '1 h' * n
        FROM generate_series(1, 99) AS n
        """,
        user.id,
    )
    async with bench.pool.acquire() as connection, connection.transaction():
        await delete_push_subscriptions(connection, ids, because="destroyed")
    found = await bench.pool.fetch("SELECT * FROM ended_push_subscriptions")
    assert len(found) == 100
    assert set(ids) <= {row["id"] for row in found}
    assert set(found[0].keys()) == {
        "id",
        "user_id",
        "types",
        "created_at",
        "verified_at",
        "ended_at",
        "because",
        "cursor",
    }


async def test_types_that_were_asked_for_before_are_kept(bench: WebhookBench) -> None:
    user: WebhookUser = await bench.user()
    subscription = await bench.subscribe(user, URL, types=["Email"])

    async def ask(types: list[str] | None) -> None:
        async with bench.pool.acquire() as connection, connection.transaction():
            await update_push_subscription(connection, subscription, types=types, lifetime=None)

    async def before() -> list[Any]:
        rows = await bench.pool.fetch(
            "SELECT types_before FROM push_subscription_types ORDER BY id"
        )
        return [row["types_before"] for row in rows]

    await ask(["Email"])  # is no change
    await ask(None)
    await ask(["Mailbox"])
    assert await before() == [["Email"], None]
    for number in range(20):
        await ask([str(number)])
    assert len(await before()) == 16
    await bench.pool.execute("DELETE FROM push_subscriptions")
    assert await before() == []
