"""What `tidings` reads from the environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from services.cli.embedded.data_directory import DataDirectory
from services.console.settings import ConsoleSettings
from services.console.settings import ServerSettings as ConsoleServerSettings
from services.dispatcher.remote.settings import METHOD_SERVICE_PREFIX, MethodServiceSettings
from services.dispatcher.settings import DispatcherSettings, PushRules, PushSubscriptionSettings
from services.gateway.settings import GatewaySettings
from services.gateway.settings import ServerSettings as GatewayServerSettings
from services.webhooks.settings import ServerSettings as WebhookServerSettings
from services.webhooks.settings import WebhookSettings
from shared.http.issuer import JWT_PREFIX, JwtSettings
from shared.log.topology import LogSettings
from shared.runtime.collector import TracesSettings
from shared.runtime.errors import CouldNotStartError
from shared.runtime.logs import LogLineSettings
from shared.runtime.secret_key import SECRET_KEY, SecretKeySettings
from shared.runtime.serve import HttpSettings
from shared.runtime.settings import PREFIX, Secret, refuse_unknown, settings_from
from shared.web_push.settings import WebhookPolicySettings

T = TypeVar("T", bound=msgspec.Struct)


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_*: the servers."""

    data: Path = Path(".tidings")  # directory of the embedded servers
    nats_url: Secret | None = None
    """URLs of the NATS servers, with commas; without one: of `up` an embedded server, of other
    commands that of the `up` that runs on TIDINGS_DATA."""
    postgres_url: Secret | None = None
    """URL of the PostgreSQL database; without one: as with NATS."""


class UpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_*: of dispatchers, which need it most, and of `tidings up`."""

    public_url: str | None = None
    """What the session tells clients: the URL at which they reach it; without one: of `up` where
    it listens, of a dispatcher http://127.0.0.1:8080."""


WEBHOOK_PREFIX = PREFIX + "WEBHOOK_"

# Every variable that a program of this repository reads, by prefix.
DECLARED: tuple[tuple[str, type[msgspec.Struct]], ...] = (
    (PREFIX, ServerSettings),
    (PREFIX, HttpSettings),
    (PREFIX, UpSettings),
    (PREFIX, DispatcherSettings),
    (PREFIX, GatewayServerSettings),
    (PREFIX + "GATEWAY_", GatewaySettings),
    (JWT_PREFIX, JwtSettings),
    (PREFIX + "LOG_", LogSettings),
    (PREFIX + "LOG_", LogLineSettings),
    (PREFIX + "TRACES_", TracesSettings),
    (METHOD_SERVICE_PREFIX, MethodServiceSettings),
    (PREFIX, SecretKeySettings),
    (WEBHOOK_PREFIX, WebhookPolicySettings),
    (WEBHOOK_PREFIX, PushSubscriptionSettings),
    (WEBHOOK_PREFIX, WebhookSettings),
    (PREFIX, WebhookServerSettings),
    (PREFIX + "CONSOLE_", ConsoleSettings),
    (PREFIX, ConsoleServerSettings),
)


def settings_of(environ: Mapping[str, str], type_: type[T]) -> T:
    """Raises SettingsError, also for a variable that nobody reads."""
    refuse_unknown(environ, DECLARED)
    return settings_from(environ, next(p for p, t in DECLARED if t is type_), type_)


def push_rules_of(environ: Mapping[str, str]) -> PushRules:
    """Raises SettingsError."""
    return PushRules(
        policy=settings_of(environ, WebhookPolicySettings),
        limits=settings_of(environ, PushSubscriptionSettings),
    )


def with_servers_in_use(environ: Mapping[str, str]) -> Mapping[str, str]:
    """With URLs and the secret key of a running `tidings up` where they are not given.

    Raises:
        CouldNotStartError: a URL is not given and none runs.
    """
    settings = settings_of(environ, ServerSettings)
    nats_url, postgres_url = servers_in_use(settings)
    running = DataDirectory(settings.data).running()
    is_that_of_up = running is not None and running.postgres_url == postgres_url
    secret_key = running.secret_key if running is not None and is_that_of_up else ""
    return {
        **environ,
        f"{PREFIX}NATS_URL": nats_url,
        f"{PREFIX}POSTGRES_URL": postgres_url,
        SECRET_KEY: environ.get(SECRET_KEY) or secret_key,
    }


def servers_in_use(settings: ServerSettings) -> tuple[str, str]:
    """URLs of NATS and PostgreSQL: those given, else those of a running `tidings up`.

    Raises:
        CouldNotStartError: none is given and none runs.
    """
    if settings.nats_url is not None and settings.postgres_url is not None:
        return settings.nats_url, settings.postgres_url
    running = DataDirectory(settings.data).running()
    if running is None:
        raise CouldNotStartError(
            f"No tidings runs on {settings.data.absolute()}: start `tidings up` there, set "
            "TIDINGS_DATA to its directory, or set TIDINGS_NATS_URL and TIDINGS_POSTGRES_URL."
        )
    return settings.nats_url or running.nats_url, settings.postgres_url or running.postgres_url
