"""What admin commands stand on: the database in use, and the ear of the running processes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
import typer

from services.cli.run import run, starting
from services.cli.settings import ServerSettings, servers_in_use, settings_of
from shared.bus.connection import BusUnavailableError, ServerTooOldError, open_bus
from shared.bus.control import ControlMessage, send_control
from shared.runtime.errors import CouldNotStartError
from shared.store.credentials import UnknownScopeError, UnknownTokenError
from shared.store.lane_admin import UnknownSubscriptionError
from shared.store.migrate import require_migrations
from shared.store.people import NameTakenError, OwnerNeededError, UnknownNameError
from shared.store.pool import open_pool

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Work = Callable[[asyncpg.Pool], Awaitable[None]]

_CONNECT_SECONDS = 5.0
_REFUSALS = (
    NameTakenError,
    OwnerNeededError,
    UnknownNameError,
    UnknownScopeError,
    UnknownSubscriptionError,
    UnknownTokenError,
)


class RefusedError(CouldNotStartError):
    """The command asks for what cannot be."""


def on_database(context: typer.Context, work: Work) -> None:
    """Do it, and exit."""
    raise typer.Exit(run(_with_pool(context.obj, work)))


async def tell(environ: Mapping[str, str], *messages: ControlMessage) -> None:
    """The facts are in PostgreSQL; who does not hear of them now finds out a few seconds later."""
    nats_url, _ = servers_in_use(settings_of(environ, ServerSettings))
    try:
        async with open_bus(nats_url, name="cli", connect_seconds=_CONNECT_SECONDS) as bus:
            for message in messages:
                await send_control(bus, message)
            # A round trip on the connection: what was sent before it has arrived.
            await bus.client.flush(timeout=int(_CONNECT_SECONDS))
    except (BusUnavailableError, ServerTooOldError, TimeoutError) as error:
        typer.echo(f"tidings: done, but running processes were not told: {error}", err=True)


async def _with_pool(environ: Mapping[str, str], work: Work) -> None:
    async with _pool_of(environ) as pool:
        try:
            await work(pool)
        except _REFUSALS as error:
            raise RefusedError(f"{error}.") from error


@asynccontextmanager
async def _pool_of(environ: Mapping[str, str]) -> AsyncIterator[asyncpg.Pool]:
    _, postgres_url = servers_in_use(settings_of(environ, ServerSettings))
    async with open_pool(postgres_url, connections_max=1) as pool:
        with starting():
            await require_migrations(pool)
        yield pool
