"""Subscriptions and their lanes, as the deliverer finds them."""

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shared.log.subjects import STREAM
from shared.store.credentials import issue_token
from shared.store.people import add_user
from shared.store.pool import open_pool
from shared.store.push_subscriptions import (
    NewPushSubscription,
    insert_push_subscription,
    mark_verified,
)
from shared.web_push.endpoint_secrets import Endpoint, unseal_endpoint
from shared.web_push.sealing import Vault

pytestmark = pytest.mark.integration

VAULT = Vault(secrets.token_hex(32))
ENDPOINT = Endpoint(url="https://push.example/abc", code="the-code")


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with open_pool(postgres_dsn) as pool:
        await pool.execute("INSERT INTO vapid_keys (id, public_key) VALUES ('v1', '')")
        await pool.execute(
            "INSERT INTO logs (stream, epoch, highest_sequence, is_complete)"
            " VALUES ($1, 'e', 41, true)",
            STREAM,
        )
        yield pool


async def subscribe(pool: asyncpg.Pool, subscription_id: str = "p1") -> None:
    user_id, _ = await add_user(pool, f"user of {subscription_id}")
    token_id, _ = await issue_token(pool, f"user of {subscription_id}")
    ends_at = datetime(2040, 1, 1, tzinfo=UTC)
    new = NewPushSubscription(
        id=subscription_id,
        user_id=user_id,
        credential_id=token_id,
        token_id=token_id,
        device_client_id="device",
        vapid_key_id="v1",
        origin="https://push.example",
        endpoint=ENDPOINT,
        types=["Email"],
        expires_at=ends_at - timedelta(days=1),
        ends_at=ends_at,
    )
    async with pool.acquire() as connection, connection.transaction():
        await insert_push_subscription(connection, VAULT, new, stream=STREAM)


async def test_a_subscription_is_kept_sealed_under_a_key_of_its_own(pool: asyncpg.Pool) -> None:
    await subscribe(pool)

    [row] = await pool.fetch(
        "SELECT * FROM push_subscriptions JOIN push_subscription_keys ON subscription_id = id"
    )
    key = VAULT.unwrap(row["wrapped"], "p1")
    assert unseal_endpoint(key, "p1", row["sealed"]) == ENDPOINT
    assert row["origin"] == VAULT.keyed_hash("https://push.example")
    assert not row["has_keys"]
    assert row["verified_at"] is None


async def test_a_new_lane_has_told_all_that_the_log_holds_and_waits(pool: asyncpg.Pool) -> None:
    await subscribe(pool)

    [lane] = await pool.fetch("SELECT * FROM lanes")
    assert (lane["cursor"], lane["target"], lane["due_at"]) == (41, 41, None)
    assert lane["origin"] == VAULT.keyed_hash("https://push.example")


async def test_a_lane_starts_at_0_where_there_is_no_log_yet(pool: asyncpg.Pool) -> None:
    await pool.execute("DELETE FROM logs")
    await subscribe(pool)

    assert await pool.fetchval("SELECT cursor FROM lanes") == 0


@pytest.mark.parametrize(
    ("target", "paused", "is_due"), [(41, False, False), (42, False, True), (42, True, False)]
)
async def test_verified_it_is_due_if_it_missed_something_and_is_not_paused(
    pool: asyncpg.Pool, target: int, *, paused: bool, is_due: bool
) -> None:
    await subscribe(pool)
    await pool.execute(
        "UPDATE lanes SET target = $1, paused_at = CASE WHEN $2 THEN now() END", target, paused
    )
    async with pool.acquire() as connection, connection.transaction():
        assert await mark_verified(connection, "p1")

    assert await pool.fetchval("SELECT verified_at IS NOT NULL FROM push_subscriptions")
    assert await pool.fetchval("SELECT due_at IS NOT NULL FROM lanes") == is_due


async def test_verified_again_it_leaves_the_lane_of_a_worker_alone(pool: asyncpg.Pool) -> None:
    await subscribe(pool)
    await pool.execute("UPDATE lanes SET target = 42")
    async with pool.acquire() as connection, connection.transaction():
        assert await mark_verified(connection, "p1")
        await connection.execute("UPDATE lanes SET due_at = NULL")
        assert not await mark_verified(connection, "p1")
        assert not await mark_verified(connection, "unknown")

    assert await pool.fetchval("SELECT due_at FROM lanes") is None
