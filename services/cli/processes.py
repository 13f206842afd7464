"""`tidings dispatcher`, `gateway`, `webhooks`, `console`: one each, on servers that run already."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from services.cli.replay_to_subscription import replay_targets
from services.cli.run import starting
from services.cli.settings import push_rules_of, settings_of, with_servers_in_use
from services.console import app as console
from services.console.settings import ConsoleSettings
from services.console.settings import ServerSettings as ConsoleServerSettings
from services.dispatcher import app as dispatcher
from services.dispatcher.remote.settings import MethodServiceSettings
from services.dispatcher.settings import DispatcherRules, DispatcherSettings
from services.gateway import app as gateway
from services.gateway.settings import GatewaySettings
from services.gateway.settings import ServerSettings as GatewayServerSettings
from services.webhooks import app as webhooks
from services.webhooks.settings import ServerSettings as WebhookServerSettings
from services.webhooks.settings import WebhookSettings
from shared.http.issuer import JwtSettings
from shared.log.topology import LogSettings
from shared.runtime.collector import TracesSettings, open_traces
from shared.runtime.logs import LogLineSettings, configure_logs
from shared.runtime.secret_key import SecretKeySettings, vault_of
from shared.runtime.serve import HttpSettings
from shared.runtime.settings import PREFIX
from shared.runtime.traces import Traces
from shared.store.migrate import require_migrations
from shared.store.pool import open_pool
from shared.web_push.settings import WebhookPolicySettings


async def run_dispatcher(environ: Mapping[str, str]) -> None:
    """Until SIGTERM or SIGINT; raises CouldNotStartError."""
    environ = await _with_servers(environ)
    configure_logs(settings_of(environ, LogLineSettings).level)
    with _traces(environ, "dispatcher") as traces:
        await dispatcher.run(
            settings_of(environ, DispatcherSettings),
            settings_of(environ, LogSettings),
            settings_of(environ, HttpSettings),
            settings_of(environ, JwtSettings),
            vault=vault_of(settings_of(environ, SecretKeySettings)),
            rules=DispatcherRules(
                push=push_rules_of(environ),
                method_services=settings_of(environ, MethodServiceSettings),
                traces=traces,
            ),
        )


async def run_gateway(environ: Mapping[str, str]) -> None:
    """Until SIGTERM or SIGINT; raises CouldNotStartError."""
    environ = await _with_servers(environ)
    configure_logs(settings_of(environ, LogLineSettings).level)
    with _traces(environ, "gateway") as traces:
        await gateway.run(
            settings_of(environ, GatewayServerSettings),
            settings_of(environ, GatewaySettings),
            settings_of(environ, HttpSettings),
            settings_of(environ, JwtSettings),
            traces=traces,
        )


async def run_webhooks(environ: Mapping[str, str]) -> None:
    """Until SIGTERM or SIGINT; raises CouldNotStartError."""
    environ = await _with_servers(environ)
    configure_logs(settings_of(environ, LogLineSettings).level)
    with _traces(environ, "webhooks") as traces:
        await webhooks.run(
            settings_of(environ, WebhookServerSettings),
            settings_of(environ, WebhookSettings),
            settings_of(environ, WebhookPolicySettings),
            settings_of(environ, HttpSettings),
            vault_of(settings_of(environ, SecretKeySettings)),
            traces=traces,
        )


async def run_console(environ: Mapping[str, str]) -> None:
    """Until SIGTERM or SIGINT; raises CouldNotStartError."""
    environ = await _with_servers(environ)
    configure_logs(settings_of(environ, LogLineSettings).level)
    with _traces(environ, "console") as traces:
        await console.run(
            settings_of(environ, ConsoleServerSettings),
            settings_of(environ, ConsoleSettings),
            settings_of(environ, HttpSettings),
            settings_of(environ, JwtSettings),
            vault_of(settings_of(environ, SecretKeySettings)),
            open_replay_target=replay_targets(environ),
            origin_at_once_max=settings_of(environ, WebhookSettings).origin_at_once_max,
            traces=traces,
        )


def _traces(environ: Mapping[str, str], process: str) -> AbstractContextManager[Traces]:
    """Raises CouldNotStartError."""
    return open_traces(settings_of(environ, TracesSettings), environ, process=process)


async def _with_servers(environ: Mapping[str, str]) -> Mapping[str, str]:
    """With those of a running `tidings up` where none are given; the database is ready."""
    environ = with_servers_in_use(environ)
    with starting():
        async with open_pool(environ[f"{PREFIX}POSTGRES_URL"], connections_max=1) as pool:
            await require_migrations(pool)
    return environ
