"""The PostgreSQL pool.

`json` and `jsonb` cross it as bytes of JSON, which each module decodes by its own shape.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shared.runtime.metrics import Metric, Metrics

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
Executor: TypeAlias = "asyncpg.Pool | asyncpg.Connection | PoolConnectionProxy[asyncpg.Record]"

POSTGRES_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a query on a connection whose server was just killed
    OSError,  # and with it TimeoutError
)
"""What a query may raise while PostgreSQL is away."""

POSTGRES_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it stops, it starts, it crashed
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
"""Those of them that say nothing of the query: who asks again later may have an answer."""

_JSONB_VERSION = b"\x01"  # the first byte of jsonb's binary format


class _Connection(asyncpg.Connection):
    """Given back to the pool without a query that resets the session: nothing here changes it.

    Whoever takes an advisory lock or changes a setting outside a transaction must undo it. The
    query would be half of what a lookup costs.
    """

    def get_reset_query(self) -> str:
        return ""


@asynccontextmanager
async def open_pool(dsn: str, *, connections_max: int = 10) -> AsyncIterator[asyncpg.Pool]:
    """A pool that connects when it is first used, so it may be made before the server is up."""
    pool = asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=connections_max,
        connection_class=_Connection,
        init=_set_codecs,
        command_timeout=30,  # seconds
        server_settings={"application_name": "tidings"},
    )
    async with pool:
        yield pool


def watch_pool(metrics: Metrics, pool: asyncpg.Pool) -> None:
    """How many of its connections are in use, at each scrape."""

    def sample() -> None:
        idle = pool.get_idle_size()
        metrics.set(Metric.POSTGRES_CONNECTIONS, idle, state="idle")
        metrics.set(Metric.POSTGRES_CONNECTIONS, pool.get_size() - idle, state="busy")
        metrics.set(Metric.POSTGRES_CONNECTIONS_MAX, pool.get_max_size())

    metrics.on_scrape(sample)


async def _set_codecs(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda body: _JSONB_VERSION + body,
        decoder=lambda data: data[1:],
    )
    await connection.set_type_codec(
        "json",
        schema="pg_catalog",
        format="binary",
        encoder=lambda body: body,
        decoder=lambda data: data,
    )
