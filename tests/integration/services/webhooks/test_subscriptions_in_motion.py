"""Subscriptions come and go while the deliverer works on them: no call of a client fails."""

import asyncio
import time

import pytest

from services.dispatcher.settings import PushRules, PushSubscriptionSettings
from shared.store.credentials import issue_token
from tests.support.dispatcher import LOOPBACK, JmapClient, Json
from tests.support.everything import everything_running
from tests.support.push_subscriptions import push_set
from tests.support.servers import NatsServer
from tests.support.webhook_sink import WebhookSink, webhook_sink

pytestmark = pytest.mark.integration

SECONDS = 5.0
DEVICES = 3  # with the writer they are as many as may ask at once


async def test_no_call_fails_while_lanes_move(fresh_nats: NatsServer, postgres_dsn: str) -> None:
    """P-24: whoever changes and destroys several at once meets workers at each of them."""
    limits = PushSubscriptionSettings(creations_per_hour=10_000)
    rules = PushRules(policy=LOOPBACK.policy, limits=limits)
    with webhook_sink() as sink:
        async with everything_running(fresh_nats.url, postgres_dsn, push=rules) as running:
            pool = running.everything.pool
            writer, _ = await running.user("ada")
            until = time.monotonic() + SECONDS

            async def device(number: int) -> int:
                _, token = await issue_token(pool, "ada")
                client = JmapClient(running.url, token, writer.account_id)
                running.clients.append(client)
                turns = 0
                while time.monotonic() < until:
                    await _turn(client, sink, f"/{number}/{turns}")
                    turns += 1
                return turns

            async def write() -> None:
                while time.monotonic() < until:
                    await writer.add_card(name={"full": "Ada"})

            turns = await asyncio.gather(*(device(number) for number in range(DEVICES)), write())
            assert sum(count or 0 for count in turns) >= DEVICES
            for table in ("push_subscriptions", "push_subscription_keys", "lanes"):
                assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0


async def _turn(client: JmapClient, sink: WebhookSink, path: str) -> None:
    """Three are made, changed and destroyed in one call each."""
    given = {"deviceClientId": "d", "url": sink.url(path)}
    made = await push_set(client, create=dict.fromkeys("abc", given))
    assert made["created"], made
    ids = [item["id"] for item in made["created"].values()]
    patch: Json = {"types": ["ContactCard", "AddressBook"]}
    updated = await push_set(client, update=dict.fromkeys(ids, patch))
    assert updated["updated"], updated
    await client.call("ContactCard/get", ids=[])
    gone = await push_set(client, destroy=ids)
    assert sorted(gone["destroyed"]) == sorted(ids)
