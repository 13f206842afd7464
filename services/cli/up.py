"""`tidings up`: every process of Tidings in one, on one port, with its servers."""

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack

import httpx
import typer

from services.cli.demo import command_for_token, first_greeting, later_greeting, make_demo
from services.cli.embedded.data_directory import (
    DataDirectory,
    Running,
    held_data_directory,
    using,
)
from services.cli.embedded.servers import Servers, embedded_servers
from services.cli.everything import Everything, EverythingSettings, open_everything
from services.cli.replay_to_subscription import replay_targets
from services.cli.run import starting
from services.cli.settings import (
    WEBHOOK_PREFIX,
    ServerSettings,
    UpSettings,
    push_rules_of,
    settings_of,
)
from services.console.settings import ConsoleSettings
from services.dispatcher.remote.settings import MethodServiceSettings
from services.gateway.handoff import HandoffHttpProtocol
from services.gateway.settings import GatewaySettings
from services.webhooks.settings import WebhookSettings
from shared.http.issuer import JwtSettings
from shared.log.topology import LogSettings
from shared.runtime.collector import TracesSettings, open_traces
from shared.runtime.garbage import collect_garbage_seldom
from shared.runtime.lifetime import CutShortError, cut_short_by, draining_on_signals
from shared.runtime.logs import LogLineSettings, configure_logs
from shared.runtime.secret_key import SECRET_KEY, SecretKeySettings, vault_of
from shared.runtime.serve import HttpSettings, listen, serve, url_of
from shared.runtime.traces import Traces

_ALLOW = f"{WEBHOOK_PREFIX}ALLOW"

_log = logging.getLogger(__name__)


async def up(environ: Mapping[str, str]) -> None:
    """Runs until SIGTERM or SIGINT; raises CouldNotStartError."""
    settings = settings_of(environ, ServerSettings)
    http = settings_of(environ, HttpSettings)
    configure_logs(settings_of(environ, LogLineSettings).level)
    draining, stopping = draining_on_signals(), asyncio.Event()
    async with AsyncExitStack() as stack:
        data = stack.enter_context(held_data_directory(settings.data))
        environ = _with_defaults(environ, data)
        listener = stack.enter_context(listen(http))
        url = url_of(listener, http)
        public_url = settings_of(environ, UpSettings).public_url or url
        traces = stack.enter_context(
            open_traces(settings_of(environ, TracesSettings), environ, process="up")
        )
        everything_settings = _everything_settings(environ, public_url, traces)
        try:
            async with cut_short_by(draining):
                with using(settings.data):
                    servers = await stack.enter_async_context(
                        embedded_servers(
                            data, nats_url=settings.nats_url, postgres_url=settings.postgres_url
                        )
                    )
                with starting():
                    everything = await stack.enter_async_context(
                        open_everything(servers, everything_settings, draining)
                    )
        except CutShortError:
            return
        stack.enter_context(data.announced(_running(url, servers, environ[SECRET_KEY])))
        async with asyncio.TaskGroup() as tasks:
            loops = [
                tasks.create_task(
                    everything.run(draining, stopping, drain_seconds_max=http.drain_seconds_max),
                    name="services",
                ),
                tasks.create_task(
                    _greet(everything, settings, url=url, public_url=public_url), name="greeting"
                ),
            ]
            collect_garbage_seldom()
            await serve(everything.app, listener, http, stopping, http_protocol=HandoffHttpProtocol)
            for loop in loops:
                loop.cancel()


def _everything_settings(
    environ: Mapping[str, str], public_url: str, traces: Traces
) -> EverythingSettings:
    return EverythingSettings(
        public_url=public_url,
        vault=vault_of(settings_of(environ, SecretKeySettings)),
        gateway=settings_of(environ, GatewaySettings),
        jwt=settings_of(environ, JwtSettings),
        push=push_rules_of(environ),
        webhooks=settings_of(environ, WebhookSettings),
        method_services=settings_of(environ, MethodServiceSettings),
        log=settings_of(environ, LogSettings),
        open_replay_target=replay_targets(environ),
        console=settings_of(environ, ConsoleSettings),
        traces=traces,
    )


def _with_defaults(environ: Mapping[str, str], data: DataDirectory) -> Mapping[str, str]:
    """Of one machine: a secret of its own, and webhooks that may go to it."""
    return {
        **environ,
        SECRET_KEY: environ.get(SECRET_KEY) or data.secrets().secret_key,
        _ALLOW: environ.get(_ALLOW) or "localhost,127.0.0.0/8,::1/128",
    }


def _running(url: str, servers: Servers, secret_key: str) -> Running:
    return Running(
        pid=os.getpid(),
        url=url,
        nats_url=servers.nats_url,
        postgres_url=servers.postgres_url,
        secret_key=secret_key,
    )


async def _greet(
    everything: Everything, settings: ServerSettings, *, url: str, public_url: str
) -> None:
    """The ready line is the last one, so that who waits for it has seen everything."""
    await everything.guard.epoch()
    again = command_for_token(settings)
    try:
        demo = await make_demo(everything.pool, url)
    except (httpx.HTTPError, LookupError) as error:
        _log.warning("demo_not_made", extra={"error": repr(error)})
        demo = None
    typer.echo(first_greeting(demo, public_url, again) if demo else later_greeting(again))
    typer.echo(f"Tidings is ready: {url}")
