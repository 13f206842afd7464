"""Real servers for tests, started by the same code as `tidings up`."""

import asyncio
import os
import secrets
import signal
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import asyncpg

from services.cli.embedded.child import Child, ChildSpec
from services.cli.embedded.nats_server import NatsSettings, nats_child
from services.cli.embedded.ports import free_port
from services.cli.embedded.postgres import PostgresSettings, create_cluster, postgres_child
from shared.store.migrate import migrate
from tests.support.eventually import wait_until

_START_SECONDS = 60


class Server:
    """A server process that a test may treat badly."""

    def __init__(self, spec: ChildSpec) -> None:
        self._child = Child(spec)

    @property
    def pid(self) -> int | None:
        return self._child.pid

    def start(self) -> None:
        """Returns once it serves; after `kill` it is tried again while leftovers go away."""
        self._child.start()
        wait_until(self._serves, seconds=_START_SECONDS, what=self._child.last_words)

    def _serves(self) -> bool:
        if self._child.exit_code() is not None:
            self._child.start()
        return self._child.is_ready()

    def stop(self) -> None:
        """In good order."""
        self._child.stop()

    def kill(self) -> None:
        """kill -9."""
        self._child.kill()

    def pause(self) -> None:
        """Hangs until `resume`; its sockets stay open."""
        self._child.send(signal.SIGSTOP)
        if self.pid is not None:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # it still answers for a moment

    def resume(self) -> None:
        self._child.send(signal.SIGCONT)


class NatsServer(Server):
    """JetStream on a file store, every write synced."""

    def __init__(self, settings: NatsSettings) -> None:
        super().__init__(nats_child(settings))
        self.url = settings.url
        self.store_dir = settings.folder / "nats"


class PostgresServer(Server):
    """A cluster with a database of its name; `dsn` is that of a superuser."""

    def __init__(self, settings: PostgresSettings) -> None:
        create_cluster(settings)
        super().__init__(postgres_child(settings))
        self.dsn = settings.admin_dsn


@contextmanager
def nats_server_running() -> Iterator[NatsServer]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidings-nats-")))
        server = NatsServer(NatsSettings(folder=folder, port=free_port(), password=_password()))
        stack.callback(server.stop)
        server.start()
        yield server


@contextmanager
def nats_cluster_running(members: int = 3) -> Iterator[list[NatsServer]]:
    """Servers that make one cluster; kill one and the others go on."""
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidings-cluster-")))
        password = _password()
        routes = tuple(free_port() for _ in range(members))
        servers = []
        for number, cluster_port in enumerate(routes):
            folder = base / str(number)
            folder.mkdir()
            settings = NatsSettings(
                folder=folder,
                port=free_port(),
                password=password,
                name=f"tidings-{number}",
                cluster_port=cluster_port,
                cluster_routes=routes,
            )
            server = NatsServer(settings)
            stack.callback(server.stop)
            server.start()
            servers.append(server)
        yield servers


@contextmanager
def postgres_server_running(*, is_durable: bool) -> Iterator[PostgresServer]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidings-pg-")))
        server = PostgresServer(
            PostgresSettings(
                folder=folder,
                port=free_port(),
                password=_password(),
                connections_max=200,
                is_durable=is_durable,
            )
        )
        stack.callback(server.stop)
        server.start()
        yield server


class Databases:
    """Migrated databases on one server, each a copy of a template."""

    def __init__(self, admin_dsn: str) -> None:
        self._admin_dsn = admin_dsn
        self._template = f"template_{secrets.token_hex(4)}"
        self._execute(f"CREATE DATABASE {self._template}")
        asyncio.run(_migrate(self._dsn(self._template)))

    def fresh(self) -> AbstractContextManager[str]:
        return self._copy(self._template)

    def empty(self) -> AbstractContextManager[str]:
        """Without any migration."""
        return self._copy("template0")

    @contextmanager
    def _copy(self, template: str) -> Iterator[str]:
        name = f"test_{secrets.token_hex(6)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        try:
            yield self._dsn(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        self._execute(f"DROP DATABASE {self._template} WITH (FORCE)")

    def _dsn(self, database: str) -> str:
        return self._admin_dsn.rpartition("/")[0] + "/" + database

    def _execute(self, statement: str) -> None:
        asyncio.run(_execute(self._admin_dsn, statement))


async def _migrate(dsn: str) -> None:
    await migrate(dsn)


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _password() -> str:
    return secrets.token_hex(16)
