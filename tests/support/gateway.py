"""A gateway on a real port, over a fan-out in memory, for users that a test makes up."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from starlette.applications import Starlette
from starlette.routing import Route

from services.gateway.admission import Admission
from services.gateway.connections import Connections, FanOut
from services.gateway.entrance import Entrance, Refusal
from services.gateway.event_source_route import EventSourceRoute
from services.gateway.handoff import HandoffHttpProtocol
from services.gateway.settings import GatewaySettings
from services.gateway.websocket import Answer
from services.gateway.websocket_messages import RequestMessage, encode_response
from services.gateway.websocket_route import WebSocketRoute
from shared.runtime.clock import SystemClock
from shared.runtime.serve import HttpSettings, listen, serve
from shared.store.credentials import Credential
from tests.support.certificate import Certificate
from tests.support.memory_fan_out import MemoryFanOut

AUTHORIZATION = "Authorization: Bearer anna"


def credential_of(user_id: str, expires_at: datetime | None = None) -> Credential:
    return Credential(
        id=f"t-{user_id}",
        user_id=user_id,
        user_name=user_id,
        scopes=frozenset({"jmap"}),
        expires_at=expires_at,
    )


async def echo(holder: Credential, request: RequestMessage) -> bytes:
    """Answers as a dispatcher would that knows Core/echo alone."""
    del holder
    body = json.loads(request.body)
    response = {"methodResponses": body["methodCalls"], "sessionState": "1"}
    return encode_response(json.dumps(response).encode(), request.id)


class GatewayOfTest:
    """Users are their own tokens."""

    def __init__(self, settings: GatewaySettings, fan_out: FanOut) -> None:
        self.accounts: dict[str, set[str]] = {"anna": {"a1", "a2"}}
        self.tickets: dict[str, Credential] = {}
        self.expires_at: datetime | None = None
        self.draining = asyncio.Event()
        self.connections = Connections(
            fan_out,
            self.visible_accounts,
            now=asyncio.get_running_loop().time,
            flush_seconds=settings.flush_milliseconds / 1000,
        )
        self.entrance = Entrance(
            Admission(settings.limits),
            self.authenticate,
            self.redeem,
            SystemClock(),
            lifetime_seconds=settings.lifetime_seconds,
        )
        self.settings = settings
        self.port = 0
        self.fan_out = MemoryFanOut()
        self.event_source = EventSourceRoute(self.entrance, self.connections, settings)
        self.answer: Answer = echo
        self.websocket = WebSocketRoute(self.entrance, self.connections, self._answer, settings)

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/jmap/eventsource", self.event_source),
                Route("/jmap/ws", self.websocket),
            ]
        )

    async def _answer(self, holder: Credential, request: RequestMessage) -> bytes:
        return await self.answer(holder, request)

    async def visible_accounts(self, user_id: str) -> frozenset[str]:
        return frozenset(self.accounts[user_id])

    async def authenticate(self, authorization: str | None) -> Credential:
        user_id = (authorization or "").removeprefix("Bearer ")
        if user_id not in self.accounts:
            raise Refusal(401, "who are you?")
        return credential_of(user_id, self.expires_at)

    async def redeem(self, ticket: str) -> Credential | None:
        return self.tickets.pop(ticket, None)


@asynccontextmanager
async def gateway_running(
    settings: GatewaySettings | None = None,
    *,
    fan_out: FanOut | None = None,
    with_handoff: bool = True,
    certificate: Certificate | None = None,
) -> AsyncIterator[GatewayOfTest]:
    http = HttpSettings(
        port=0,
        drain_seconds_max=5,
        tls_cert=certificate.path if certificate else None,
        tls_key=certificate.key_path if certificate else None,
    )
    memory = MemoryFanOut()
    gateway = GatewayOfTest(settings or GatewaySettings(), fan_out or memory)
    gateway.fan_out = memory  # not of the connections when another was given
    listener = listen(http)
    gateway.port = listener.getsockname()[1]
    protocol = HandoffHttpProtocol if with_handoff else None
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(
            serve(gateway.app, listener, http, gateway.draining, http_protocol=protocol)
        )
        clock = tasks.create_task(gateway.connections.run())
        try:
            yield gateway
        finally:
            await gateway.connections.drain(0)
            gateway.draining.set()
            await serving
            clock.cancel()
