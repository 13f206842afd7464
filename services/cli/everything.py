"""All services in one process: they share a pool, an authenticator, a port; each stays unaware."""

import asyncio
import functools
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import msgspec
from starlette.applications import Starlette

from services.cli.embedded.servers import Servers
from services.console.app import Console, ConsoleBuses, ConsoleResources, open_console_buses
from services.console.replay_routes import OpenTarget
from services.console.settings import ConsoleSettings
from services.dispatcher.app import Dispatcher, DispatcherResources
from services.dispatcher.append.api import AppendApi
from services.dispatcher.relay import Relay
from services.dispatcher.remote.settings import MethodServiceSettings
from services.dispatcher.removals import run_removals
from services.dispatcher.settings import PushRules
from services.gateway.app import Gateway, GatewayResources
from services.gateway.settings import GatewaySettings
from services.webhooks.app import WebhookResources, Webhooks, open_client
from services.webhooks.push_client import PushClient
from services.webhooks.settings import WebhookSettings
from shared.bus.connection import Bus
from shared.bus.control import listen_control, send_control
from shared.http.authentication import Authenticator
from shared.http.forwarded import websocket_capability
from shared.http.health import health_routes
from shared.http.issuer import JwtSettings, issuer_of
from shared.log.guard import LogGuard
from shared.log.open_log import (
    ReadableLog,
    SharedLog,
    WritableLog,
    open_readable_log,
    open_shared_log,
    open_writable_log,
)
from shared.log.removals import AccountRemovals
from shared.log.topology import LogSettings
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.lifetime import finished_after
from shared.runtime.metrics import Metrics
from shared.runtime.traces import Traces
from shared.store.migrate import migrate
from shared.store.pool import open_pool, watch_pool
from shared.web_push.sealing import Vault

_POSTGRES_CONNECTIONS_MAX = 20


class EverythingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What its parts are told."""

    public_url: str
    vault: Vault
    open_replay_target: Callable[[asyncpg.Pool], OpenTarget]
    gateway: GatewaySettings = GatewaySettings()
    jwt: JwtSettings = JwtSettings()
    push: PushRules = PushRules()
    webhooks: WebhookSettings = WebhookSettings()
    method_services: MethodServiceSettings = MethodServiceSettings()
    log: LogSettings = LogSettings()
    console: ConsoleSettings = ConsoleSettings()
    traces: Traces = Traces()


class Everything(msgspec.Struct, frozen=True, kw_only=True):
    """One application, and what must run while it is served."""

    app: Starlette
    pool: asyncpg.Pool
    guard: LogGuard
    relay: Relay
    dispatcher: Dispatcher
    append_api: AppendApi
    gateway: Gateway
    webhooks: Webhooks
    console: Console
    bus: Bus
    removals: AccountRemovals

    async def run(
        self, draining: asyncio.Event, stopping: asyncio.Event, *, drain_seconds_max: float
    ) -> None:
        """Until cancelled; sets `stopping` once the connections were closed after `draining`.

        Requests over NATS are taken until then, since the connections ask by it, too.
        """
        closed = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.guard.run(), name="guard")
            tasks.create_task(self.relay.run(), name="relay")
            tasks.create_task(self.dispatcher.run(self.bus), name="dispatcher")
            tasks.create_task(self.append_api.run(), name="append_api")
            tasks.create_task(run_removals(self.removals), name="removals")
            tasks.create_task(self.console.run(draining), name="console")
            delivering = tasks.create_task(self.webhooks.run(draining), name="webhooks")
            answers = [
                part.answer_bus(self.bus, closed) for part in (self.dispatcher, self.append_api)
            ]
            answering = tasks.create_task(
                finished_after(closed, drain_seconds_max, answers), name="answering"
            )
            await self.gateway.run(draining)
            await delivering
            closed.set()
            await answering
            stopping.set()


@asynccontextmanager
async def open_everything(
    servers: Servers,
    settings: EverythingSettings,
    draining: asyncio.Event,
) -> AsyncIterator[Everything]:
    """With migrations applied and the log as declared."""
    async with AsyncExitStack() as stack:
        await migrate(servers.postgres_url)
        pool = await stack.enter_async_context(
            open_pool(servers.postgres_url, connections_max=_POSTGRES_CONNECTIONS_MAX)
        )
        log = await stack.enter_async_context(
            open_writable_log(servers.nats_url, pool, name="up", settings=settings.log)
        )
        await log.keeper.ensure()
        await log.keeper.apply_topology()
        tailed = await stack.enter_async_context(
            open_readable_log(servers.nats_url, pool, name="up gateway")
        )
        shared = await stack.enter_async_context(
            open_shared_log(servers.nats_url, name="up webhooks")
        )
        client = await stack.enter_async_context(
            open_client(settings.webhooks, settings.push.policy, SystemClock())
        )
        buses = await stack.enter_async_context(open_console_buses(servers.nats_url))
        opened = _Opened(pool, log, tailed, shared, client, buses)
        yield await _put_together(opened, settings, draining)


class _Opened(msgspec.Struct, frozen=True):
    pool: asyncpg.Pool
    log: WritableLog
    tailed: ReadableLog
    shared: SharedLog
    client: PushClient
    console_buses: ConsoleBuses

    def watch(self, metrics: Metrics) -> None:
        for log in (self.log, self.tailed, self.shared):
            log.watch(metrics)
        watch_pool(metrics, self.pool)


async def _put_together(
    opened: _Opened, settings: EverythingSettings, draining: asyncio.Event
) -> Everything:
    pool, log = opened.pool, opened.log
    clock, metrics = SystemClock(), Metrics()
    opened.watch(metrics)
    authenticator = Authenticator(pool, clock=clock, issuer=issuer_of(settings.jwt, clock))
    relay = Relay(pool, log, clock, metrics, settings.traces)
    dispatcher = Dispatcher(
        DispatcherResources(
            pool=pool,
            authenticator=authenticator,
            vault=settings.vault,
            push=settings.push,
            method_services=settings.method_services,
            committed=relay.wake,
            follow=relay.follow,
            public_url=settings.public_url,
            clock=clock,
            metrics=metrics,
            traces=settings.traces,
            capabilities=[websocket_capability(settings.public_url)],
            tell=functools.partial(send_control, log.bus),
        )
    )
    gateway = _gateway(opened, settings, authenticator, clock, metrics)
    webhooks = _webhooks(opened, settings, clock, metrics)
    console = _console(opened, settings, authenticator, clock, metrics)
    append_api = dispatcher.append_api(relay, log.guard)
    await dispatcher.prepare()
    for part in (authenticator, dispatcher, gateway, webhooks):
        await listen_control(log.bus, part.receive_control)
    health = health_routes(_checks(gateway, webhooks, pool), draining, metrics)
    apis = (gateway.routes(), dispatcher.routes(), append_api.routes(), console.routes())
    app = Starlette(routes=[*itertools.chain(*apis), *health])
    return Everything(
        app=app,
        pool=pool,
        guard=log.guard,
        relay=relay,
        dispatcher=dispatcher,
        append_api=append_api,
        gateway=gateway,
        webhooks=webhooks,
        console=console,
        bus=log.bus,
        removals=AccountRemovals(pool, log.eraser),
    )


def _checks(
    gateway: Gateway, webhooks: Webhooks, pool: asyncpg.Pool
) -> dict[str, Callable[[], Awaitable[object]]]:
    return {
        "log": gateway.check,
        "webhooks": webhooks.check,
        "postgres": lambda: pool.fetchval("SELECT 1"),
    }


def _webhooks(
    opened: _Opened, settings: EverythingSettings, clock: Clock, metrics: Metrics
) -> Webhooks:
    return Webhooks(
        WebhookResources(
            pool=opened.pool,
            log=opened.shared,
            vault=settings.vault,
            client=opened.client,
            clock=clock,
            metrics=metrics,
            traces=settings.traces,
            policy=settings.push.policy,
            settings=settings.webhooks,
        )
    )


def _console(
    opened: _Opened,
    settings: EverythingSettings,
    authenticator: Authenticator,
    clock: Clock,
    metrics: Metrics,
) -> Console:
    return Console(
        ConsoleResources(
            pool=opened.pool,
            authenticator=authenticator,
            vault=settings.vault,
            buses=opened.console_buses,
            clock=clock,
            metrics=metrics,
            open_replay_target=settings.open_replay_target(opened.pool),
            origin_at_once_max=settings.webhooks.origin_at_once_max,
            settings=settings.console,
            traces=settings.traces,
        )
    )


def _gateway(
    opened: _Opened,
    settings: EverythingSettings,
    authenticator: Authenticator,
    clock: Clock,
    metrics: Metrics,
) -> Gateway:
    return Gateway(
        GatewayResources(
            pool=opened.pool,
            authenticator=authenticator,
            log=opened.tailed,
            bus=opened.log.bus,
            clock=clock,
            metrics=metrics,
            traces=settings.traces,
            settings=settings.gateway,
        )
    )
