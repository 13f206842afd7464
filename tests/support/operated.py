"""Gateways that operators can ask, over a real NATS server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from services.gateway.asked import Asked
from services.gateway.settings import GatewaySettings
from shared.bus.connection import open_bus
from shared.operate.connections import ConnectionFilter
from shared.operate.gateways import Gateways
from shared.runtime.clock import SystemClock
from tests.support.eventually import eventually
from tests.support.gateway import GatewayOfTest, gateway_running


class _Health:
    is_live = True
    is_draining = False


class Operated:
    """Two gateways, each on a port of its own, and an operator."""

    def __init__(self, gateways: list[GatewayOfTest], operator: Gateways) -> None:
        self.gateways = gateways
        self.operator = operator


@asynccontextmanager
async def asked(gateway: GatewayOfTest, nats_url: str) -> AsyncIterator[None]:
    """Until the block ends the gateway answers."""
    async with open_bus(nats_url, name="gateway") as bus, asyncio.TaskGroup() as tasks:
        asked = Asked(bus, gateway.connections, _Health(), SystemClock())
        running = tasks.create_task(asked.run())
        try:
            yield
        finally:
            running.cancel()


@asynccontextmanager
async def operated(
    nats_url: str, *, settings: GatewaySettings | None = None, answer_seconds_max: float = 2.0
) -> AsyncIterator[Operated]:
    async with AsyncExitStack() as stack:
        gateways = []
        for _ in range(2):
            gateways.append(await stack.enter_async_context(gateway_running(settings)))
            await stack.enter_async_context(asked(gateways[-1], nats_url))
        bus = await stack.enter_async_context(open_bus(nats_url, name="operator"))
        operator = Gateways(bus, by="ada@test", answer_seconds_max=answer_seconds_max)
        running = Operated(gateways, operator)
        await eventually(lambda: _know_each_other(running))
        yield running


async def _know_each_other(running: Operated) -> bool:
    listing = await running.operator.find(ConnectionFilter())
    return len(listing.gateways) == len(running.gateways)
