"""`tidings up`: every process of Tidings in one, on one port, with its servers."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack

import typer
from starlette.applications import Starlette

from services.cli.embedded.data_directory import Running, held_data_directory
from services.cli.embedded.servers import embedded_servers
from services.cli.run import starting
from services.cli.settings import server_settings
from services.dispatcher.relay import Relay
from services.gateway.fan_out import FanOut
from shared.log.open_log import open_readable_log, open_writable_log
from shared.runtime.lifetime import draining_on_signals
from shared.runtime.logs import configure_logs
from shared.runtime.serve import HttpSettings, listen, serve, url_of
from shared.runtime.settings import PREFIX, settings_from
from shared.store.migrate import migrate
from shared.store.pool import open_pool


async def up(environ: Mapping[str, str]) -> None:
    """Runs until SIGTERM or SIGINT; raises CouldNotStartError."""
    settings = server_settings(environ)
    http_settings = settings_from(environ, PREFIX, HttpSettings)
    configure_logs()
    draining = draining_on_signals()
    async with AsyncExitStack() as stack:
        data = stack.enter_context(held_data_directory(settings.data))
        listener = stack.enter_context(listen(http_settings))
        servers = await stack.enter_async_context(
            embedded_servers(data, nats_url=settings.nats_url, postgres_url=settings.postgres_url)
        )
        with starting():
            await migrate(servers.postgres_url)
            pool = await stack.enter_async_context(open_pool(servers.postgres_url))
            log = await stack.enter_async_context(
                open_writable_log(servers.nats_url, pool, name="up")
            )
            await log.keeper.ensure()
            await log.keeper.apply_topology()
            tailed = await stack.enter_async_context(
                open_readable_log(servers.nats_url, pool, name="up")
            )
        relay = Relay(pool, log.appender, log.guard)
        fan_out = FanOut(tailed.tail, tailed.reader, tailed.keeper.verify)
        tailed.on_doubt(fan_out.doubt)
        app = Starlette(routes=[])
        url = url_of(listener, http_settings)
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
                tasks.create_task(log.guard.run(), name="guard"),
                tasks.create_task(relay.run(), name="relay"),
                tasks.create_task(fan_out.run(), name="fan_out"),
            ]
            typer.echo(f"Tidings is ready: {url}")
            await serve(app, listener, http_settings, draining)
            for loop in loops:
                loop.cancel()
