"""Gateways that operators can ask, over a real NATS server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from services.gateway.asked import Asked
from services.gateway.settings import GatewaySettings
from shared.bus.connection import Bus, open_bus
from shared.operate.connections import ConnectionDetails, ConnectionFilter
from shared.operate.gateways import Gateways, Waits
from shared.runtime.clock import SystemClock
from tests.support.eventually import PATIENCE, eventually
from tests.support.gateway import GatewayOfTest, gateway_running
from tests.support.websocket import WebSocketClient
from tests.support.wire import EventSourceClient

EVERYTHING = ConnectionFilter()
TARGET = "/jmap/eventsource?types=*&closeafter=no&ping=0"
SOON = Waits(
    answer_seconds_max=1.0 * PATIENCE,
    lease_seconds=1.5 * PATIENCE,
    renewal_seconds=0.3 * PATIENCE,
    silent_seconds=1.0 * PATIENCE,
)


class _Health:
    is_live = True
    is_draining = False


class OperatedGateway:
    """A gateway, its connection to NATS, and what answers there."""

    def __init__(self, gateway: GatewayOfTest, bus: Bus, answering: asyncio.Task[None]) -> None:
        self.gateway = gateway
        self.bus = bus
        self.id = gateway.connections.gateway_id
        self.watches = gateway.connections.watches
        self._answering = answering

    async def get(self, user: str, target: str = TARGET, *headers: str) -> EventSourceClient:
        authorization = f"Authorization: Bearer {user}"
        return await EventSourceClient.get(self.gateway.port, target, authorization, *headers)

    async def connect(self, user: str) -> WebSocketClient:
        return await WebSocketClient.connect(self.gateway.port, f"Authorization: Bearer {user}")

    def fall_silent(self) -> None:
        """As if it hung: it is there for others, and says nothing."""
        self._answering.cancel()


class Operated:
    """Gateways, each on a port of its own, and an operator."""

    def __init__(self, gateways: list[OperatedGateway], operator: Gateways, bus: Bus) -> None:
        self.gateways = gateways
        self.operator = operator
        self.bus = bus

    async def only_connection(self) -> ConnectionDetails:
        [facts] = (await self.operator.find(EVERYTHING)).connections
        return await self.operator.show(facts.id)


@asynccontextmanager
async def operated(
    nats_url: str, *, settings: GatewaySettings | None = None, count: int = 2
) -> AsyncIterator[Operated]:
    """Users anna (accounts a1 and a2) and bob (b1) may connect to each gateway."""
    async with AsyncExitStack() as stack:
        gateways = []
        for _ in range(count):
            gateway = await stack.enter_async_context(gateway_running(settings))
            gateway.accounts["bob"] = {"b1"}
            gateways.append(await stack.enter_async_context(_asked(gateway, nats_url)))
        bus = await stack.enter_async_context(open_bus(nats_url, name="operator"))
        running = Operated(gateways, Gateways(bus, by="ada@test", waits=SOON), bus)
        await eventually(lambda: _all_answer(running))
        yield running


@asynccontextmanager
async def _asked(gateway: GatewayOfTest, nats_url: str) -> AsyncIterator[OperatedGateway]:
    async with open_bus(nats_url, name="gateway") as bus, asyncio.TaskGroup() as tasks:
        asked = Asked(bus, gateway.connections, _Health(), SystemClock())
        running = tasks.create_task(asked.run())
        try:
            yield OperatedGateway(gateway, bus, running)
        finally:
            running.cancel()


async def _all_answer(running: Operated) -> bool:
    listing = await running.operator.find(EVERYTHING)
    return len(listing.gateways) == len(running.gateways)
