"""Dispatcher and gateway as `tidings up` puts them together, in the test's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec

from services.cli.embedded.servers import Servers
from services.cli.everything import Everything, EverythingSettings, open_everything
from services.cli.replay_to_subscription import replay_targets
from services.console.settings import ConsoleSettings
from services.dispatcher.remote.settings import MethodServiceSettings
from services.dispatcher.settings import PushRules
from services.gateway.handoff import HandoffHttpProtocol
from services.gateway.settings import GatewaySettings
from services.webhooks.settings import WebhookSettings
from shared.bus.control import ControlMessage, send_control
from shared.http.issuer import JwtSettings
from shared.runtime.serve import HttpSettings, listen, serve, url_of
from shared.runtime.traces import Traces
from shared.store.credentials import issue_token, revoke_token
from shared.store.people import add_account, add_grant, add_user, remove_grant
from shared.web_push.sealing import Vault
from tests.support.dispatcher import LOOPBACK, SECRET_KEY, JmapClient


class RunningEverything(msgspec.Struct, frozen=True):
    everything: Everything
    url: str
    port: int
    clients: list[JmapClient]

    async def user(self, name: str, ttl: timedelta | None = None) -> tuple[JmapClient, str]:
        """A client, and the id of its token; the AddressBook of its account is pushed later."""
        _, account_id = await add_user(self.everything.pool, name)
        token_id, token = await issue_token(self.everything.pool, name, ttl=ttl)
        self.clients.append(JmapClient(self.url, token, account_id))
        return self.clients[-1], token_id

    async def account(self, name: str) -> str:
        return await add_account(self.everything.pool, name)

    async def grant(self, account: str, user: str, *, is_told: bool = True) -> None:
        user_id = await add_grant(self.everything.pool, account, user, "read")
        if is_told:
            await self.tell(ControlMessage(grants_changed=user_id))

    async def ungrant(self, account: str, user: str, *, is_told: bool = True) -> None:
        user_id = await remove_grant(self.everything.pool, account, user)
        if is_told:
            await self.tell(ControlMessage(grants_changed=user_id))

    async def revoke(self, token_id: str, *, is_told: bool = True) -> None:
        await revoke_token(self.everything.pool, token_id)
        if is_told:
            await self.tell(ControlMessage(revoked=token_id))

    async def tell(self, message: ControlMessage) -> None:
        await send_control(self.everything.bus, message)


def _environment(nats_url: str, dsn: str) -> dict[str, str]:
    return {
        "TIDINGS_NATS_URL": nats_url,
        "TIDINGS_POSTGRES_URL": dsn,
        "TIDINGS_SECRET_KEY": SECRET_KEY,
        "TIDINGS_WEBHOOK_ALLOW": "127.0.0.0/8",
    }


@asynccontextmanager
async def everything_running(  # noqa: PLR0913 - settings that some test needs
    nats_url: str,
    dsn: str,
    settings: GatewaySettings | None = None,
    *,
    jwt: JwtSettings | None = None,
    webhooks: WebhookSettings | None = None,
    push: PushRules = LOOPBACK,
    method_services: MethodServiceSettings | None = None,
    console: ConsoleSettings | None = None,
    traces: Traces | None = None,
) -> AsyncIterator[RunningEverything]:
    http = HttpSettings(port=0, drain_seconds_max=2)
    draining, stopping = asyncio.Event(), asyncio.Event()
    listener = listen(http)
    url = url_of(listener, http)
    servers = Servers(nats_url=nats_url, postgres_url=dsn)
    async with (
        open_everything(
            servers,
            EverythingSettings(
                public_url=url,
                vault=Vault(SECRET_KEY),
                open_replay_target=replay_targets(_environment(nats_url, dsn)),
                gateway=settings or GatewaySettings(drain_seconds=0),
                jwt=jwt or JwtSettings(),
                push=push,
                webhooks=webhooks or WebhookSettings(),
                method_services=method_services or MethodServiceSettings(),
                console=console or ConsoleSettings(),
                traces=traces or Traces(),
            ),
            draining,
        ) as everything,
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(everything.run(draining, stopping, drain_seconds_max=2))
        serving = tasks.create_task(
            serve(everything.app, listener, http, stopping, http_protocol=HandoffHttpProtocol)
        )
        await everything.guard.epoch()
        started = RunningEverything(everything, url, listener.getsockname()[1], [])
        try:
            yield started
        finally:
            for client in started.clients:
                await client.http.aclose()
            draining.set()
            await serving
            running.cancel()
