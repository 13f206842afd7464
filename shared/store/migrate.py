"""Forward-only migrations: numbered SQL files, each applied once and in its own transaction.

Old processes go on while they are applied (docs/adr/0015): a migration adds. One that takes away
begins with the line `-- needs NAME`: from then on no program works that does not know the migration
NAME, and those that do not refuse to start.
"""

import asyncio
import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

import asyncpg
import msgspec

from shared.store.pool import Connection

_LOCK = 0x71D1_4795  # pg_advisory_lock: one migrator at a time

# While a statement waits for a lock on a table, everybody else waits behind it.
_LOCK_WAIT = "SET LOCAL lock_timeout = '2s'"
_TRIES = 10
_TRY_SECONDS = 1.0
_NEEDS = re.compile(r"-- needs ([0-9]{4}_[a-z_]+\.sql)\n")

_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
ALTER TABLE migrations ADD COLUMN IF NOT EXISTS needs text
"""


class MigrationsMissingError(Exception):
    """The database lacks migrations that this build needs: run `tidings migrate`."""


class SchemaTooNewError(Exception):
    """A migration that this build does not know took away what it needs: upgrade it."""


class _Migration(msgspec.Struct, frozen=True):
    name: str
    sql: str

    @property
    def needs(self) -> str | None:
        found = _NEEDS.match(self.sql)
        return None if found is None else found[1]


async def migrate(dsn: str) -> list[str]:
    """Apply what is missing, in order; returns the names applied now.

    Raises SchemaTooNewError.
    """
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        applied = await _applied(connection)
        _require_known(applied)
        missing = [migration for migration in _migrations() if migration.name not in applied]
        for migration in missing:
            await _apply(connection, migration)
        return [migration.name for migration in missing]
    finally:
        await connection.close()


async def require_migrations(pool: asyncpg.Pool) -> None:
    """Raises MigrationsMissingError, SchemaTooNewError; newer migrations that only add are fine."""
    known = {migration.name for migration in _migrations()}
    async with pool.acquire() as connection:
        exists = await connection.fetchval("SELECT to_regclass('migrations') IS NOT NULL")
        applied = await _applied(connection) if exists else {}
    if missing := sorted(known - applied.keys()):
        raise MigrationsMissingError(", ".join(missing))
    _require_known(applied)


def _require_known(applied: Mapping[str, str | None]) -> None:
    known = {migration.name for migration in _migrations()}
    if unknown := {needs for needs in applied.values() if needs is not None} - known:
        raise SchemaTooNewError(", ".join(sorted(unknown)))


async def _apply(connection: Connection, migration: _Migration) -> None:
    """Rather gives up and tries again than has the running processes wait behind it for long."""
    for tries_left in reversed(range(_TRIES)):
        try:
            async with connection.transaction():
                await connection.execute(_LOCK_WAIT)
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO migrations (name, needs) VALUES ($1, $2)",
                    migration.name,
                    migration.needs,
                )
        except asyncpg.LockNotAvailableError:
            if not tries_left:
                raise
            await asyncio.sleep(_TRY_SECONDS)
        else:
            return


async def _applied(connection: Connection) -> dict[str, str | None]:
    """Name -> what it needs."""
    # A database that was never migrated by a program that knows `needs` has no such column.
    rows = await connection.fetch(
        "SELECT name, to_jsonb(migrations) ->> 'needs' AS needs FROM migrations"
    )
    return {row["name"]: row["needs"] for row in rows}


def _migrations() -> list[_Migration]:
    folder = files("shared.store") / "migrations"
    found = (entry for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return sorted(map(_read, found), key=lambda migration: migration.name)


def _read(entry: Traversable) -> _Migration:
    return _Migration(entry.name, entry.read_text(encoding="utf-8"))
