"""Servers from a Docker daemon, where one answers and TIDINGS_TEST_CONTAINERS=1 asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager

_NATS_IMAGE = "nats:2.15-alpine"
_POSTGRES_IMAGE = "postgres:18-alpine"
_PASSWORD = "tests-only"


@contextmanager
def nats_container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    container = DockerContainer(_NATS_IMAGE).with_command("-js").with_exposed_ports(4222)
    with container.waiting_for(LogMessageWaitStrategy("Server is ready")) as server:
        yield f"nats://{server.get_container_host_ip()}:{server.get_exposed_port(4222)}"


@contextmanager
def postgres_container() -> Iterator[str]:
    from testcontainers.postgres import PostgresContainer  # noqa: PLC0415

    with PostgresContainer(_POSTGRES_IMAGE, username="tidings", password=_PASSWORD) as server:
        yield server.get_connection_url(driver=None)
