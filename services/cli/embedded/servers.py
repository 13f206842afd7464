"""The servers of `tidings up`: embedded ones, or those whose URLs were given."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import msgspec

from services.cli.embedded.data_directory import DataDirectory, Ports
from services.cli.embedded.nats_server import NatsSettings, nats_child
from services.cli.embedded.ports import free_port
from services.cli.embedded.postgres import PostgresSettings, create_cluster, postgres_child
from services.cli.embedded.supervisor import supervised
from shared.runtime.errors import CouldNotStartError

_USER = "tidings_owner"
_DATABASE = "tidings"
_NATS_START_SECONDS = 60  # a store of a million subjects takes seven
_POSTGRES_START_SECONDS = 120  # recovery after a crash
_CONNECT_SECONDS = 10


class Servers(msgspec.Struct, frozen=True, kw_only=True):
    """Where they are, with credentials."""

    nats_url: str
    postgres_url: str


@asynccontextmanager
async def embedded_servers(
    data: DataDirectory, *, nats_url: str | None = None, postgres_url: str | None = None
) -> AsyncIterator[Servers]:
    """Both servers serve when this returns, and are gone when it ends.

    Args:
        data: where their files are.
        nats_url: a server that runs already; None: embed one.
        postgres_url: likewise.

    Raises:
        CouldNotStartError: one of them does not start.
    """
    secrets, last = data.secrets(), data.ports()
    ports = Ports(
        nats=free_port(last.nats if last else None),
        postgres=free_port(last.postgres if last else None),
    )
    data.keep_ports(ports)
    async with AsyncExitStack() as stack:
        if postgres_url is None:
            postgres = PostgresSettings(
                folder=data.path, port=ports.postgres, password=secrets.postgres_admin_password
            )
            await asyncio.to_thread(create_cluster, postgres)
            await stack.enter_async_context(
                supervised(postgres_child(postgres), start_seconds=_POSTGRES_START_SECONDS)
            )
            await _create_database(postgres, data, secrets.postgres_password)
            postgres_url = postgres.dsn(_DATABASE, user=_USER, password=secrets.postgres_password)
        if nats_url is None:
            nats = NatsSettings(folder=data.path, port=ports.nats, password=secrets.nats_password)
            await stack.enter_async_context(
                supervised(nats_child(nats), start_seconds=_NATS_START_SECONDS)
            )
            nats_url = nats.url
        # Given ones are a Secret, which does not let itself be written to run.json.
        yield Servers(nats_url=str(nats_url), postgres_url=str(postgres_url))


async def _create_database(postgres: PostgresSettings, data: DataDirectory, password: str) -> None:
    """And who owns it: not the superuser, who could read every file that the server may read."""
    try:
        connection = await asyncpg.connect(postgres.admin_dsn, timeout=_CONNECT_SECONDS)
    except asyncpg.InvalidPasswordError as error:
        raise CouldNotStartError(
            f"{data.path / 'secrets.json'} is not the one that its PostgreSQL was made with: "
            "put that one back, or set TIDINGS_DATA to another directory."
        ) from error
    try:
        names = await connection.fetch(
            "SELECT datname AS name FROM pg_database UNION ALL SELECT rolname FROM pg_roles"
        )
        found = {row["name"] for row in names}
        if _USER not in found:
            await connection.execute(f"CREATE ROLE {_USER} LOGIN PASSWORD '{password}'")
        if _DATABASE not in found:
            await connection.execute(f"CREATE DATABASE {_DATABASE} OWNER {_USER}")
    finally:
        await connection.close(timeout=_CONNECT_SECONDS)
