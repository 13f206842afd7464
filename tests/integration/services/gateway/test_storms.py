"""Very many who come at once: bounded, told when to come back, and no harm to who is there."""

import asyncio
import time

import pytest

from services.gateway import handoff
from services.gateway.settings import GatewaySettings
from tests.support.eventually import PATIENCE, eventually
from tests.support.gateway import AUTHORIZATION, gateway_running
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

ALL = "/jmap/eventsource?types=*&closeafter=no&ping=0"


async def test_joins_that_wait_for_the_log_are_bounded_and_hold_up_no_push() -> None:
    settings = GatewaySettings(joins_at_once_max=2, join_seconds_max=1)
    async with (
        gateway_running(settings) as gateway,
        await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION) as live,
    ):
        gateway.fan_out.delay = asyncio.Event()  # the log answers nobody
        storm = [
            asyncio.ensure_future(EventSourceClient.get(gateway.port, ALL, AUTHORIZATION))
            for _ in range(50)
        ]
        await eventually(lambda: len(gateway.connections) == 51)
        for number in range(5):
            gateway.fan_out.append("a1", Email=f"s{number}")
            await live.state()
        refused = await asyncio.gather(*storm)
        assert {client.status for client in refused} == {503}
        assert all(int(client.headers["retry-after"]) >= 1 for client in refused)
        for client in refused:
            client.writer.transport.abort()
        await eventually(lambda: len(gateway.connections) == 1)
        gateway.fan_out.delay.set()


async def test_pushes_go_on_while_hundreds_come_in() -> None:
    settings = GatewaySettings(connections_per_user_max=1000)
    async with (
        gateway_running(settings) as gateway,
        await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION) as live,
    ):
        storm = [
            asyncio.ensure_future(
                EventSourceClient.get(gateway.port, ALL, AUTHORIZATION, "Last-Event-ID: x")
            )
            for _ in range(300)
        ]
        slowest = 0.0
        while not all(client.done() for client in storm):
            start = time.monotonic()
            gateway.fan_out.append("a1", Email=f"s{start}")
            await live.state()
            slowest = max(slowest, time.monotonic() - start)
        for client in storm:
            client.result().writer.transport.abort()
        assert slowest < 2.0 * PATIENCE


@pytest.mark.parametrize("beginning", [b"", b"GET /jmap/eventsource HTTP/1.1\r\nHost: x\r\n"])
async def test_who_connects_and_does_not_ask_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr(handoff, "HEAD_SECONDS_MAX", 0.3)
    async with gateway_running() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(beginning)
        async with asyncio.timeout(10 * PATIENCE):
            assert await reader.read() == b""
        writer.close()
        async with await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION) as live:
            await asyncio.sleep(0.5)
            gateway.fan_out.append("a1", Email="s1")
            assert await live.state(), "a stream is not a request that is waited for"
