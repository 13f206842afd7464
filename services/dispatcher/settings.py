"""The dispatcher's settings."""

from typing import Annotated

import msgspec
from msgspec import Meta

from shared.runtime.settings import Secret


class DispatcherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_*."""

    postgres_url: Secret
    nats_url: Secret
    public_url: str = "http://127.0.0.1:8080"
    postgres_connections_max: Annotated[int, Meta(ge=2, le=1000)] = 10
