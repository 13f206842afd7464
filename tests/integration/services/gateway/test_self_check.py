"""The periodic comparison with the log, and what `/metrics` tells."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.servers import NatsServer
from tests.support.websocket import WebSocketClient
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

CARDS = "/jmap/eventsource?types=ContactCard"


@pytest.fixture
async def running(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    async with everything_running(fresh_nats.url, postgres_dsn) as everything:
        yield everything


async def test_a_connection_that_missed_an_event_is_found_and_told(
    running: RunningEverything,
) -> None:
    client, _ = await running.user("anna")
    gateway = running.everything.gateway
    async with await EventSourceClient.get(
        running.port, CARDS, f"Authorization: Bearer {client.token}"
    ) as stream:
        await client.add_card(name={"full": "told"})
        await stream.state()
        await gateway.self_check.check()
        assert gateway.self_check.outcomes == {"agrees": 1}

        (channel,) = gateway.connections
        gateway._fan_out.leave(channel)  # what a bug would do
        await client.add_card(name={"full": "missed"})
        newest = (await client.call("ContactCard/get", ids=[]))["state"]
        await eventually(lambda: _finds_it(running))

        assert (await stream.state())[1] == {client.account_id: {"ContactCard": newest}}
        await gateway.self_check.check()
        assert gateway.self_check.outcomes["differs"] == 1


async def _finds_it(running: RunningEverything) -> bool:
    await running.everything.gateway.self_check.check()
    return running.everything.gateway.self_check.outcomes["differs"] == 1


async def test_metrics_tell_of_connections(running: RunningEverything) -> None:
    client, _ = await running.user("anna")
    authorization = f"Authorization: Bearer {client.token}"
    async with (
        await EventSourceClient.get(running.port, CARDS, authorization) as stream,
        await WebSocketClient.connect(running.port, authorization),
    ):
        refused = await EventSourceClient.get(running.port, "/jmap/eventsource")
        refused.writer.transport.abort()
        for number in range(20):
            await client.add_card(name={"full": str(number)})
        await stream.state()
        async with await EventSourceClient.get(
            running.port, CARDS, authorization, "Last-Event-ID: unknown"
        ):
            pass

        await eventually(lambda: _tells(running.url, 'tidings_connections{transport="sse"} 1.0'))
        for line in (
            'tidings_connections{transport="websocket"} 1.0',
            'tidings_joins_total{outcome="fresh"} 1.0',
            'tidings_refusals_total{status="401"} 1.0',
            r'tidings_push_messages_total{transport="sse"} [1-9]',
            r"tidings_tail_sequence [1-9]",
            r"tidings_push_lag_seconds_count [1-9]",
            "tidings_drained_ratio 0.0",
            'tidings_replayed_states_bucket{le="0.0"} 0.0',
            'tidings_replayed_states_bucket{le="1.0"} 1.0',
        ):
            assert await eventually(lambda line=line: _tells(running.url, line))  # type: ignore[misc]
    await eventually(
        lambda: _tells(running.url, 'connections_ended_total{reason="client",transport="sse"} 1.0')
    )


async def _tells(url: str, line: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(f"{url}/metrics")).text
    pattern = line.replace("{", r"\{").replace("}", r"\}")
    return re.search(pattern, text, re.MULTILINE) is not None
