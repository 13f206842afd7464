"""Forward-only migrations: numbered SQL files, each applied once and in its own transaction."""

from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg

from shared.store.pool import Connection

_LOCK = 0x71D1_4795  # pg_advisory_lock: one migrator at a time

_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())
"""


class MigrationsMissingError(Exception):
    """The database lacks migrations that this build needs: run `tidings migrate`."""


async def migrate(dsn: str) -> list[str]:
    """Apply what is missing, in order; returns the names applied now."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        applied = await _applied(connection)
        missing = [migration for migration in _migrations() if migration.name not in applied]
        for migration in missing:
            async with connection.transaction():
                await connection.execute(migration.read_text(encoding="utf-8"))
                await connection.execute(
                    "INSERT INTO migrations (name) VALUES ($1)", migration.name
                )
        return [migration.name for migration in missing]
    finally:
        await connection.close()


async def require_migrations(pool: asyncpg.Pool) -> None:
    """Raises MigrationsMissingError unless every migration of this build was applied."""
    async with pool.acquire() as connection:
        exists = await connection.fetchval("SELECT to_regclass('migrations') IS NOT NULL")
        applied = await _applied(connection) if exists else set()
    missing = [migration.name for migration in _migrations() if migration.name not in applied]
    if missing:
        raise MigrationsMissingError(", ".join(missing))


async def _applied(connection: Connection) -> set[str]:
    return {row["name"] for row in await connection.fetch("SELECT name FROM migrations")}


def _migrations() -> list[Traversable]:
    folder = files("shared.store") / "migrations"
    return sorted(
        (entry for entry in folder.iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
