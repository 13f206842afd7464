"""P-24 with a deliverer at work: what endpoints say may quote their URL, and is kept."""

import asyncio
import json
import logging
import secrets
from pathlib import Path

import asyncpg
import pytest

from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.push_subscriptions import endpoint_of, push_set, subscribe
from tests.support.secrets_on_disk import forms_of, found_in
from tests.support.servers import NatsServer, PostgresServer
from tests.support.webhook_sink import Behaviour, WebhookSink

pytestmark = pytest.mark.integration


def quoting(path: str, status: int) -> Behaviour:
    return Behaviour(status=status, body=f"I am {path}".encode(), headers={"Location": path})


async def kept(pool: asyncpg.Pool, subscription: str) -> list[str]:
    rows = await pool.fetch(
        "SELECT outcome FROM delivery_attempts WHERE subscription_id = $1 ORDER BY at", subscription
    )
    return [row["outcome"] for row in rows]


async def live_and_be_told(
    running: RunningEverything, sink: WebhookSink, client: JmapClient, path: str
) -> tuple[str, list[bytes]]:
    """Verified, told, and failing, each with an answer that quotes the URL; its id and secrets."""
    pool = running.everything.pool
    sink.behave(path, quoting(path, 201), quoting(path, 200), quoting(path, 500))
    keys = sink.subscribe(path).keys
    created = await subscribe(client, url=sink.url(path), keys=keys, types=["ContactCard"])
    endpoint = await endpoint_of(pool, created["id"])

    async def has(count: int) -> bool:
        return len(await kept(pool, created["id"])) >= count

    await eventually(lambda: has(1))
    for count in (2, 3):
        await client.add_card(name={"full": "Ada"})
        await eventually(lambda: has(count))  # noqa: B023
    outcomes = await kept(pool, created["id"])
    assert outcomes[:3] == ["accepted", "accepted", "server_error"]
    code = json.loads(sink.posts_to(path)[0].content)["verificationCode"]
    assert endpoint.p256dh is not None
    assert endpoint.auth is not None
    secret = [sink.url(path).encode(), path.encode(), code.encode(), endpoint.p256dh, endpoint.auth]
    return created["id"], secret


async def test_nothing_that_a_deliverer_did_is_on_disk_in_clear(
    fresh_nats: NatsServer,
    fresh_postgres: PostgresServer,
    sink: WebhookSink,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """P-24: nor in its log; one is destroyed by its client, one by its endpoint with a 410."""
    caplog.set_level(logging.DEBUG, logger="services")
    paths = [f"/{secrets.token_urlsafe(16)}" for _ in range(2)]
    async with everything_running(fresh_nats.url, fresh_postgres.dsn) as running:
        pool = running.everything.pool
        folders = [Path(await pool.fetchval("SHOW data_directory")), fresh_nats.store_dir]
        client, _ = await running.user("ada")
        lives = [await live_and_be_told(running, sink, client, path) for path in paths]
        needles = [form for _, private in lives for one in private for form in forms_of(one)]
        await pool.execute("CHECKPOINT")
        assert await asyncio.to_thread(found_in, folders, needles) == set()

        sink.behave(paths[1], quoting(paths[1], 410))
        await push_set(client, destroy=[lives[0][0]])
        await pool.execute("UPDATE lanes SET due_at = now(), not_before = NULL WHERE lease IS NULL")
        await client.add_card(name={"full": "Ada"})

        async def are_gone() -> bool:
            tables = ("push_subscriptions", "push_subscription_keys", "delivery_attempts", "lanes")
            counts = [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]
            return not any(counts)

        await eventually(are_gone)
        await pool.execute("CHECKPOINT")
        assert await asyncio.to_thread(found_in, folders, needles) == set()
    said = "\n".join(str(vars(record)) for record in caplog.records)
    assert "webhook_gone" in said
    assert not [needle for needle in needles if needle.decode("latin-1") in said]
