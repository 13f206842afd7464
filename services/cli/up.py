"""`tidings up`: every process of Tidings in one, on one port, with its servers."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack

import asyncpg
import msgspec
import typer
from starlette.applications import Starlette

from services.cli.demo import command_for_token, first_greeting, later_greeting, make_demo
from services.cli.embedded.data_directory import Running, held_data_directory
from services.cli.embedded.servers import Servers, embedded_servers
from services.cli.run import starting
from services.cli.settings import ServerSettings, UpSettings, settings_of
from services.dispatcher.app import Dispatcher, DispatcherResources
from services.dispatcher.relay import Relay
from services.gateway.app import Gateway, GatewayResources
from services.gateway.handoff import HandoffHttpProtocol
from services.gateway.settings import GatewaySettings
from shared.bus.control import listen_control
from shared.http.authentication import Authenticator
from shared.http.health import health_routes
from shared.log.open_log import ReadableLog, WritableLog, open_readable_log, open_writable_log
from shared.runtime.clock import SystemClock
from shared.runtime.lifetime import draining_on_signals
from shared.runtime.logs import configure_logs
from shared.runtime.metrics import Metrics
from shared.runtime.serve import HttpSettings, listen, serve, url_of
from shared.store.migrate import migrate
from shared.store.pool import open_pool


class _Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What all services share."""

    pool: asyncpg.Pool
    log: WritableLog
    tailed: ReadableLog


async def up(environ: Mapping[str, str]) -> None:
    """Runs until SIGTERM or SIGINT; raises CouldNotStartError."""
    settings = settings_of(environ, ServerSettings)
    http = settings_of(environ, HttpSettings)
    configure_logs()
    draining = draining_on_signals()
    async with AsyncExitStack() as stack:
        data = stack.enter_context(held_data_directory(settings.data))
        listener = stack.enter_context(listen(http))
        url = url_of(listener, http)
        servers = await stack.enter_async_context(
            embedded_servers(data, nats_url=settings.nats_url, postgres_url=settings.postgres_url)
        )
        with starting():
            opened = await _open(stack, servers)
        relay = Relay(opened.pool, opened.log.appender, opened.log.guard)
        gateway, app = await _application(
            opened,
            relay,
            draining,
            settings_of(environ, UpSettings).public_url or url,
            settings_of(environ, GatewaySettings),
        )
        data.announce(
            Running(
                pid=os.getpid(),
                url=url,
                nats_url=servers.nats_url,
                postgres_url=servers.postgres_url,
            )
        )
        stack.callback(data.retract)
        async with asyncio.TaskGroup() as tasks:
            loops = [
                tasks.create_task(opened.log.guard.run(), name="guard"),
                tasks.create_task(relay.run(), name="relay"),
                tasks.create_task(_greet(opened, url, settings), name="greeting"),
            ]
            draining_gateway = tasks.create_task(gateway.run(draining), name="gateway")
            await serve(app, listener, http, draining, http_protocol=HandoffHttpProtocol)
            await draining_gateway  # its streams end over a while
            for loop in loops:
                loop.cancel()


async def _open(stack: AsyncExitStack, servers: Servers) -> _Opened:
    await migrate(servers.postgres_url)
    pool = await stack.enter_async_context(open_pool(servers.postgres_url, connections_max=20))
    log = await stack.enter_async_context(open_writable_log(servers.nats_url, pool, name="up"))
    await log.keeper.ensure()
    await log.keeper.apply_topology()
    tailed = await stack.enter_async_context(open_readable_log(servers.nats_url, pool, name="up"))
    return _Opened(pool=pool, log=log, tailed=tailed)


async def _application(
    opened: _Opened,
    relay: Relay,
    draining: asyncio.Event,
    public_url: str,
    gateway_settings: GatewaySettings,
) -> tuple[Gateway, Starlette]:
    clock, metrics = SystemClock(), Metrics()
    authenticator = Authenticator(opened.pool, clock=clock)
    dispatcher = Dispatcher(
        DispatcherResources(
            pool=opened.pool,
            authenticator=authenticator,
            committed=relay.wake,
            public_url=public_url,
            clock=clock,
        )
    )
    await listen_control(opened.log.bus, authenticator.receive_control)
    await listen_control(opened.log.bus, dispatcher.receive_control)
    gateway = Gateway(
        GatewayResources(
            pool=opened.pool,
            authenticator=authenticator,
            log=opened.tailed,
            clock=clock,
            metrics=metrics,
            settings=gateway_settings,
        )
    )
    await listen_control(opened.log.bus, gateway.receive_control)
    checks = {"postgres": lambda: opened.pool.fetchval("SELECT 1"), "log": gateway.check}
    routes = [
        *dispatcher.routes(),
        *gateway.routes(),
        *health_routes(checks, draining, metrics),
    ]
    return gateway, Starlette(routes=routes)


async def _greet(opened: _Opened, url: str, settings: ServerSettings) -> None:
    """The ready line is the last one, so that who waits for it has seen everything."""
    await opened.log.guard.epoch()
    demo = await make_demo(opened.pool, url)
    again = command_for_token(settings)
    typer.echo(first_greeting(demo, url, again) if demo else later_greeting(again))
    typer.echo(f"Tidings is ready: {url}")
