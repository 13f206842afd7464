"""The embedded servers survive what a machine does to them."""

from pathlib import Path

import asyncpg
import pytest
from nats.aio.client import Client

import nats
from services.cli.embedded.data_directory import held_data_directory
from services.cli.embedded.servers import embedded_servers
from shared.store.migrate import migrate
from tests.support.eventually import eventually
from tests.support.servers import NatsServer, PostgresServer

pytestmark = pytest.mark.integration


async def test_a_killed_nats_server_has_every_acknowledged_message(fresh_nats: NatsServer) -> None:
    bus = await nats.connect(fresh_nats.url)
    log = bus.jetstream()
    await log.add_stream(name="KEPT", subjects=["kept"])
    for number in range(20):
        await log.publish("kept", str(number).encode())
    await bus.close()
    fresh_nats.kill()
    fresh_nats.start()
    bus = await nats.connect(fresh_nats.url)
    assert (await bus.jetstream().stream_info("KEPT")).state.messages == 20
    await bus.close()


async def test_a_paused_nats_server_answers_after_it_is_resumed(fresh_nats: NatsServer) -> None:
    bus = await nats.connect(fresh_nats.url)
    fresh_nats.pause()
    with pytest.raises(nats.errors.TimeoutError):
        await bus.jetstream().account_info()
    fresh_nats.resume()
    assert (await bus.jetstream().account_info()).streams == 0
    await bus.close()


async def test_three_servers_keep_a_stream_of_three_replicas(
    three_nats_servers: list[NatsServer],
) -> None:
    bus = await nats.connect([server.url for server in three_nats_servers])
    await eventually(lambda: _adds_replicated_stream(bus), seconds=30)
    await bus.close()


async def _adds_replicated_stream(bus: Client) -> bool:
    try:
        await bus.jetstream().add_stream(name="R3", subjects=["r3"], num_replicas=3)
    except nats.errors.Error:
        return False
    return True


async def test_a_killed_postgres_has_every_commit(fresh_postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(fresh_postgres.dsn)
    await connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 20) AS number")
    fresh_postgres.kill()
    fresh_postgres.start()
    connection = await asyncpg.connect(fresh_postgres.dsn)
    assert await connection.fetchval("SELECT count(*) FROM kept") == 20
    await connection.close()


async def test_postgres_sorts_by_code_point_and_checks_its_pages(
    fresh_postgres: PostgresServer,
) -> None:
    connection = await asyncpg.connect(fresh_postgres.dsn)
    assert await connection.fetchval("SHOW server_encoding") == "UTF8"
    assert await connection.fetchval("SHOW data_checksums") == "on"
    assert await connection.fetchval("SHOW fsync") == "on"
    assert await connection.fetchval("SELECT lower('ÄΣ')") == "äσ"
    assert await connection.fetchval("SELECT 'B' < 'a'")
    await connection.close()


async def test_a_test_has_a_migrated_database_of_its_own(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    assert await connection.fetchval("SELECT count(*) FROM users") == 0
    await connection.close()


async def test_tidings_is_no_superuser(tmp_path: Path) -> None:
    with held_data_directory(tmp_path / "data") as data:
        async with embedded_servers(data) as servers:
            connection = await asyncpg.connect(servers.postgres_url)
            await migrate(servers.postgres_url)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("SELECT pg_read_file('/etc/passwd')")
            await connection.close()


async def test_servers_keep_their_ports_and_data_over_starts(tmp_path: Path) -> None:
    with held_data_directory(tmp_path / "data") as data:
        async with embedded_servers(data) as first:
            connection = await asyncpg.connect(first.postgres_url)
            await connection.execute("CREATE TABLE kept ()")
            await connection.close()
        async with embedded_servers(data) as second:
            assert second == first
            connection = await asyncpg.connect(second.postgres_url)
            await connection.execute("SELECT FROM kept")
            await connection.close()
