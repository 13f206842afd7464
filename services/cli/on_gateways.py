"""What commands about connections stand on: the gateways, asked over NATS."""

import getpass
import socket
from collections.abc import Awaitable, Callable

import typer

from services.cli.on_database import RefusedError
from services.cli.run import run
from services.cli.settings import ServerSettings, servers_in_use, settings_of
from shared.bus.connection import BusUnavailableError, open_bus
from shared.operate.gateways import (
    Gateways,
    NoGatewayError,
    RefusedByGatewayError,
    UnknownConnectionError,
)
from shared.store.people import UnknownNameError

_CONNECT_SECONDS = 5.0
_REFUSALS = (NoGatewayError, RefusedByGatewayError, UnknownConnectionError, UnknownNameError)


def on_gateways(context: typer.Context, work: Callable[[Gateways], Awaitable[None]]) -> None:
    """Do it, and exit."""
    raise typer.Exit(run(_with_gateways(context, work)))


async def _with_gateways(
    context: typer.Context, work: Callable[[Gateways], Awaitable[None]]
) -> None:
    nats_url, _ = servers_in_use(settings_of(context.obj, ServerSettings))
    async with open_bus(nats_url, name="cli", connect_seconds=_CONNECT_SECONDS) as bus:
        try:
            await work(Gateways(bus, by=_who()))
        except _REFUSALS as error:
            raise RefusedError(f"{error}.") from error
        except BusUnavailableError as error:
            raise RefusedError(f"NATS cannot be reached: {error}.") from error


def _who() -> str:
    """For the logs of the gateways: who typed it, and where."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name
        name = "unknown"
    return f"{name}@{socket.gethostname()}"
