"""TIDINGS_CONSOLE_*, and what the process of its own needs besides."""

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.runtime.settings import Secret


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_*: the servers, of a console that runs alone."""

    postgres_url: Secret
    nats_url: Secret


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_CONSOLE_*: the operators' console."""

    session_seconds: Annotated[int, Meta(ge=60)] = 43_200  # a login lasts; then a new one
    logins_per_minute_max: Annotated[int, Meta(ge=1)] = 10  # refused ones, of an address; then 429
    viewers_max: Annotated[int, Meta(ge=1)] = 64  # of events as they come; more: 503
    viewer_events_max: Annotated[int, Meta(ge=1)] = (
        2_000  # that wait for a viewer; what comes then is dropped and counted
    )
    replays_max: Annotated[int, Meta(ge=1)] = 4  # at once, of one process; more: 503
    behind_proxy: bool = False  # addresses are the last of X-Forwarded-For
