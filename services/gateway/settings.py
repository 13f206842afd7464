"""TIDINGS_GATEWAY_*, and what the process of its own needs besides."""

from typing import Annotated

import msgspec
from msgspec import Meta

from services.gateway.admission import Limits
from shared.runtime.settings import Secret


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_*: the servers, of a gateway that runs alone."""

    postgres_url: Secret
    nats_url: Secret


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_GATEWAY_*: every limit of the gateway."""

    connections_max: Annotated[int, Meta(ge=1)] = 20_000  # of one process; more: 503
    connections_per_user_max: Annotated[int, Meta(ge=1)] = 100  # more: 429
    connections_per_address_max: Annotated[int, Meta(ge=1)] = 5_000  # of clients; more: 429
    joins_at_once_max: Annotated[int, Meta(ge=1)] = 256  # others wait their turn
    join_seconds_max: Annotated[float, Meta(gt=0)] = 5.0  # then: 503
    lifetime_seconds: Annotated[int, Meta(ge=10)] = 3600  # of a connection, less up to a fifth
    flush_milliseconds: Annotated[int, Meta(ge=1, le=1000)] = (
        20  # least time from one push to the next
    )
    stall_seconds: Annotated[int, Meta(ge=1)] = 30  # without reading; then the client is closed
    origins: tuple[str, ...] = ()  # that may open a WebSocket from a browser; none: any
    websocket_message_bytes_max: Annotated[int, Meta(ge=1024)] = 10_000_000  # of a client
    websocket_ping_seconds: Annotated[int, Meta(ge=1)] = 30  # between pings
    requests_at_once_max: Annotated[int, Meta(ge=1)] = 4  # of all WebSockets of a user
    frames_kept: Annotated[int, Meta(ge=0, le=256)] = 32  # of each connection, for operators
    ended_kept: Annotated[int, Meta(ge=0, le=100_000)] = 1000  # ended connections, for 10 minutes
    self_check_seconds: Annotated[float, Meta(gt=0)] = (
        30.0  # from one comparison with the log to the next
    )
    unready_seconds: Annotated[float, Meta(ge=0)] = 0.0  # at the end: not ready, still serving
    drain_seconds: Annotated[float, Meta(ge=0)] = 3.0  # over which streams are closed

    @property
    def limits(self) -> Limits:
        return Limits(
            connections_max=self.connections_max,
            connections_per_user_max=self.connections_per_user_max,
            connections_per_address_max=self.connections_per_address_max,
        )
