"""A revocation whose control message nobody heard is found by looking again."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from services.gateway import app
from tests.support.eventually import PATIENCE
from tests.support.everything import RunningEverything, everything_running
from tests.support.servers import NatsServer
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

CARDS = "/jmap/eventsource?types=ContactCard"


@pytest.fixture
async def running(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    async with everything_running(fresh_nats.url, postgres_dsn) as everything:
        yield everything


async def test_it_is_found_within_two_seconds(running: RunningEverything) -> None:
    client, token_id = await running.user("anna")
    authorization = f"Authorization: Bearer {client.token}"
    async with await EventSourceClient.get(running.port, CARDS, authorization) as ended:
        start = time.monotonic()
        await running.revoke(token_id, is_told=False)

        assert await ended.chunk() == b""
        assert time.monotonic() - start < 2.0 * PATIENCE


async def test_it_is_found_as_soon_as_nats_is_back(
    monkeypatch: pytest.MonkeyPatch, fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    monkeypatch.setattr(app, "SWEEP_SECONDS", 3600.0)
    async with everything_running(fresh_nats.url, postgres_dsn) as running:
        client, token_id = await running.user("anna")
        authorization = f"Authorization: Bearer {client.token}"
        async with await EventSourceClient.get(running.port, CARDS, authorization) as ended:
            await asyncio.to_thread(fresh_nats.kill)
            assert await ended.hears_nothing(), "the loss of NATS ends no stream"
            await running.revoke(token_id, is_told=False)
            await asyncio.to_thread(fresh_nats.start)

            assert await ended.chunk() == b""
