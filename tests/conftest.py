"""Servers and the event loop of the tests.

TIDINGS_TEST_NATS_URL and TIDINGS_TEST_POSTGRES_URL (a superuser's) name servers to use instead of
embedded ones; TIDINGS_TEST_CONTAINERS=1 takes them from a Docker daemon. Tests that stop or kill a
server always have an embedded one.
"""

import os
from collections.abc import Iterator

import pytest

from shared.bus.connection import open_bus
from shared.bus.jetstream import JetStream
from shared.log.subjects import STREAM
from tests.support.containers import nats_container, postgres_container
from tests.support.servers import (
    Databases,
    NatsServer,
    PostgresServer,
    nats_cluster_running,
    nats_server_running,
    postgres_server_running,
)

_USES_CONTAINERS = os.environ.get("TIDINGS_TEST_CONTAINERS") == "1"


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True, "debug": True}


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """One for all tests; who kills it must start it again. `fresh_nats` is for harm."""
    with nats_server_running() as server:
        yield server


@pytest.fixture(scope="session")
def nats_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server to use, not to harm; keep apart by subject and stream names."""
    if given := os.environ.get("TIDINGS_TEST_NATS_URL"):
        yield given
    elif _USES_CONTAINERS:
        with nats_container() as url:
            yield url
    else:
        yield request.getfixturevalue("nats_server").url


@pytest.fixture
async def clean_nats_url(nats_url: str) -> str:
    """The shared server without streams, for a log of the test's own database."""
    async with open_bus(nats_url, name="clean") as bus:
        await JetStream(bus).delete_stream(STREAM)
    return nats_url


@pytest.fixture
def fresh_nats() -> Iterator[NatsServer]:
    """A server of the test's own."""
    with nats_server_running() as server:
        yield server


@pytest.fixture
def three_nats_servers() -> Iterator[list[NatsServer]]:
    """A cluster of the test's own: R3 streams."""
    with nats_cluster_running() as servers:
        yield servers


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for all tests, without fsync; who stops it must start it again."""
    with postgres_server_running(is_durable=False) as server:
        yield server


@pytest.fixture
def fresh_postgres() -> Iterator[PostgresServer]:
    """A durable server of the test's own."""
    with postgres_server_running(is_durable=True) as server:
        yield server


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    if given := os.environ.get("TIDINGS_TEST_POSTGRES_URL"):
        yield from _databases(given)
    elif _USES_CONTAINERS:
        with postgres_container() as dsn:
            yield from _databases(dsn)
    else:
        yield from _databases(request.getfixturevalue("postgres_server").dsn)


@pytest.fixture
def postgres_dsn(databases: Databases) -> Iterator[str]:
    """A migrated database of the test's own."""
    with databases.fresh() as dsn:
        yield dsn


def _databases(admin_dsn: str) -> Iterator[Databases]:
    databases = Databases(admin_dsn)
    yield databases
    databases.close()
