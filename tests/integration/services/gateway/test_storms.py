"""Very many who come at once: bounded, told when to come back, and no harm to who is there."""

import asyncio
import time

import pytest

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
