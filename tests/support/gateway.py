"""A gateway on a real port, over a fan-out in memory, for users that a test makes up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import msgspec
from starlette.applications import Starlette
from starlette.routing import Route

from services.gateway.admission import Admission
from services.gateway.connections import Connections, FanOut
from services.gateway.entrance import Entrance, Refusal
from services.gateway.event_source_route import EventSourceRoute
from services.gateway.handoff import HandoffHttpProtocol
from services.gateway.settings import GatewaySettings
from shared.runtime.clock import SystemClock
from shared.runtime.serve import HttpSettings, listen, serve
from tests.support.memory_fan_out import MemoryFanOut

AUTHORIZATION = "Authorization: Bearer anna"
ANY_PORT = HttpSettings(port=0, drain_seconds_max=5)


class FakeCredential(msgspec.Struct, frozen=True):
    id: str
    user_id: str
    expires_at: datetime | None = None


class GatewayOfTest:
    """Users are their own tokens."""

    def __init__(self, settings: GatewaySettings, fan_out: FanOut) -> None:
        self.accounts: dict[str, set[str]] = {"anna": {"a1", "a2"}}
        self.tickets: dict[str, FakeCredential] = {}
        self.expires_at: datetime | None = None
        self.draining = asyncio.Event()
        self.connections = Connections(
            fan_out,
            self.visible_accounts,
            now=asyncio.get_running_loop().time,
            flush_seconds=settings.flush_milliseconds / 1000,
        )
        self.entrance = Entrance(
            Admission(settings.limits), self.authenticate, self.redeem, SystemClock()
        )
        self.settings = settings
        self.port = 0
        self.fan_out = MemoryFanOut()
        self.event_source = EventSourceRoute(self.entrance, self.connections, settings)

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/jmap/eventsource", self.event_source)])

    async def visible_accounts(self, user_id: str) -> frozenset[str]:
        return frozenset(self.accounts[user_id])

    async def authenticate(self, authorization: str | None) -> FakeCredential:
        user_id = (authorization or "").removeprefix("Bearer ")
        if user_id not in self.accounts:
            raise Refusal(401, "who are you?")
        return FakeCredential(f"t-{user_id}", user_id, self.expires_at)

    async def redeem(self, ticket: str) -> FakeCredential | None:
        return self.tickets.pop(ticket, None)


@asynccontextmanager
async def gateway_running(
    settings: GatewaySettings | None = None,
    *,
    fan_out: FanOut | None = None,
    with_handoff: bool = True,
) -> AsyncIterator[GatewayOfTest]:
    memory = MemoryFanOut()
    gateway = GatewayOfTest(settings or GatewaySettings(), fan_out or memory)
    gateway.fan_out = memory  # not of the connections when another was given
    listener = listen(ANY_PORT)
    gateway.port = listener.getsockname()[1]
    protocol = HandoffHttpProtocol if with_handoff else None
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(
            serve(gateway.app, listener, ANY_PORT, gateway.draining, http_protocol=protocol)
        )
        clock = tasks.create_task(gateway.connections.run())
        try:
            yield gateway
        finally:
            await gateway.connections.drain(0)
            gateway.draining.set()
            await serving
            clock.cancel()
