"""Upgrades: migrations beside working processes, and programs that meet another schema."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from shared.store.migrate import (
    MigrationsMissingError,
    SchemaTooNewError,
    migrate,
    require_migrations,
)
from shared.store.pool import open_pool
from tests.support.dispatcher import running_dispatcher
from tests.support.servers import Databases

pytestmark = pytest.mark.integration


@pytest.fixture
def empty_dsn(databases: Databases) -> Iterator[str]:
    with databases.empty() as dsn:
        yield dsn


async def test_migrations_are_applied_once_by_whoever_comes_first(empty_dsn: str) -> None:
    applied = await asyncio.gather(*(migrate(empty_dsn) for _ in range(4)))

    assert sorted(map(len, applied))[:3] == [0, 0, 0]
    assert max(applied)[0] == "0001_foundation.sql"
    async with open_pool(empty_dsn) as pool:
        await require_migrations(pool)


async def test_a_program_refuses_a_database_that_lacks_its_migrations(empty_dsn: str) -> None:
    async with open_pool(empty_dsn) as pool:
        with pytest.raises(MigrationsMissingError, match=r"0001_foundation.sql"):
            await require_migrations(pool)
        await migrate(empty_dsn)
        await pool.execute("DELETE FROM migrations WHERE name LIKE '0005%'")
        with pytest.raises(MigrationsMissingError, match=r"^0005_tickets.sql$"):
            await require_migrations(pool)


async def test_a_program_works_with_newer_migrations_that_only_add(postgres_dsn: str) -> None:
    async with running_dispatcher(postgres_dsn) as dispatcher:
        client = await dispatcher.user("ada")
        await dispatcher.pool.execute(
            """
            ALTER TABLE records ADD COLUMN shade text NOT NULL DEFAULT 'none';
            CREATE TABLE newer (id text);
            INSERT INTO migrations (name) VALUES ('9999_newer.sql');
            """
        )
        await require_migrations(dispatcher.pool)
        assert await migrate(postgres_dsn) == []
        card = await client.add_card(name={"full": "Bob"})
        assert (await client.call("ContactCard/get", ids=[card]))["list"][0]["id"] == card
        await client.http.aclose()


async def test_a_program_refuses_a_schema_that_needs_a_newer_one(postgres_dsn: str) -> None:
    async with open_pool(postgres_dsn) as pool:
        await pool.execute(
            "INSERT INTO migrations (name, needs) VALUES ('9999_drop.sql', '9998_newer.sql')"
        )
        with pytest.raises(SchemaTooNewError, match=r"9998_newer.sql"):
            await require_migrations(pool)
    with pytest.raises(SchemaTooNewError, match=r"9998_newer.sql"):
        await migrate(postgres_dsn)


async def test_a_migration_waits_for_who_works_and_lets_others_pass(postgres_dsn: str) -> None:
    busy = await asyncpg.connect(postgres_dsn)
    await busy.execute("DELETE FROM migrations WHERE name LIKE '0009%'")
    await busy.execute("ALTER TABLE grants DROP COLUMN is_subscribed CASCADE")
    transaction = busy.transaction()
    await transaction.start()
    await busy.execute("LOCK TABLE grants IN ACCESS SHARE MODE")
    migrating = asyncio.create_task(migrate(postgres_dsn))
    async with open_pool(postgres_dsn) as pool, asyncio.timeout(20):
        for _ in range(20):  # behind the migration's lock, but never for long
            await pool.fetch("SELECT * FROM grants")
            await asyncio.sleep(0.1)

    assert not migrating.done()
    await transaction.rollback()
    assert await migrating == ["0009_subscribed.sql"]
    await busy.close()
