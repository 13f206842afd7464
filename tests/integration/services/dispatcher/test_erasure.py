"""What a push subscription keeps secret is in no file of PostgreSQL or NATS, at no time (P-24)."""

import asyncio
import secrets
from pathlib import Path

import asyncpg
import pytest

from shared.store.push_subscriptions import vacuum_secrets
from shared.web_push.sealing import Vault
from tests.support.dispatcher import SECRET_KEY, JmapClient
from tests.support.everything import everything_running
from tests.support.push_subscriptions import (
    browser_keys,
    endpoint_of,
    push_set,
    subscribe,
    update,
)
from tests.support.secrets_on_disk import forms_of, found_in
from tests.support.servers import NatsServer, PostgresServer

pytestmark = pytest.mark.integration


async def lead_a_life(client: JmapClient, pool: asyncpg.Pool, path: str) -> tuple[str, list[bytes]]:
    """Create a subscription, change, verify and use it; its id, and all that is private."""
    created = await subscribe(
        client, url=f"https://127.0.0.1:1/{path}", keys=browser_keys(), types=["Email"]
    )
    endpoint = await endpoint_of(pool, created["id"])
    await update(client, created["id"], types=None)
    await update(client, created["id"], verificationCode=endpoint.code)
    await client.add_card(name={"full": "Ada"})
    answer = secrets.token_bytes(24)
    key = Vault(SECRET_KEY).unwrap(await wrapped_key(pool), created["id"])
    await pool.execute(
        """
        INSERT INTO delivery_attempts (subscription_id, place, at, kind, outcome, milliseconds,
            cursor, sealed_answer) VALUES ($1, 99, now(), 'push', 'ok', 1, 1, $2)
        """,
        created["id"],
        key.seal(answer, purpose="answer"),
    )
    assert endpoint.p256dh is not None
    assert endpoint.auth is not None
    url, code = endpoint.url.encode(), endpoint.code.encode()
    origin = url.removesuffix(b"/" + path.encode())
    return created["id"], [
        *(url, origin, path.encode(), code, endpoint.p256dh, endpoint.auth, answer),
        bytes.fromhex(SECRET_KEY),
    ]


async def wrapped_key(pool: asyncpg.Pool) -> bytes:
    return bytes(await pool.fetchval("SELECT wrapped FROM push_subscription_keys"))


async def test_neither_url_nor_keys_nor_code_are_ever_on_disk(
    fresh_nats: NatsServer, fresh_postgres: PostgresServer
) -> None:
    """P-24: while it lives, when it is used, and after its end."""
    async with everything_running(fresh_nats.url, fresh_postgres.dsn) as running:
        pool = running.everything.pool
        data = Path(await pool.fetchval("SHOW data_directory"))
        folders = [data, fresh_nats.store_dir]
        client, _ = await running.user("ada")
        created, private = await lead_a_life(client, pool, secrets.token_urlsafe(16))
        needles = [form for secret in private for form in forms_of(secret)]
        wrapped = await wrapped_key(pool)
        await pool.execute("CHECKPOINT")
        assert await asyncio.to_thread(found_in, folders, needles) == set()
        # The search would find them: what is sealed is there, and so is what is no secret.
        assert await asyncio.to_thread(found_in, folders, [wrapped]) == {wrapped}
        assert await asyncio.to_thread(found_in, folders[1:], [client.account_id.encode()])

        await push_set(client, destroy=[created])
        for table in ("push_subscriptions", "push_subscription_keys", "delivery_attempts"):
            assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0
        await vacuum_secrets(pool)
        await pool.execute("CHECKPOINT")
        assert await asyncio.to_thread(found_in, folders, needles) == set()
        assert await asyncio.to_thread(found_in, [data / "base"], [wrapped]) == set()
