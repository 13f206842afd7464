"""The topology of compose.yaml as processes on loopback, with the files that it mounts.

Three NATS servers by `nats/cluster.conf`, two of each process, nginx by `proxy/nginx.conf`; what is
of this machine (ports, paths) comes by the environment and by the two files that nginx includes.
"""

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx

from services.cli.embedded.child import ChildSpec
from services.cli.embedded.ports import free_port
from services.cli.run import COULD_NOT_START
from tests.support.chaos import Record
from tests.support.deployment import DeployedNats, Secrets
from tests.support.eventually import eventually, wait_until
from tests.support.processes import ROOT, Process, tidings
from tests.support.servers import PostgresServer, Server

PROXY_FILES = ROOT / "proxy"
REPLICAS = {"TIDINGS_LOG_REPLICAS": "3"}
_KINDS = ("dispatcher", "gateway", "webhooks", "console")
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.2


class Proxy(Server):
    """nginx with `proxy/nginx.conf`."""

    def __init__(
        self, folder: Path, *, dispatchers: list[int], gateways: list[int], consoles: list[int]
    ) -> None:
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None, "install nginx: apt-get install --no-install-recommends nginx"
        self.port = free_port()
        configuration = folder / "etc"
        configuration.mkdir(parents=True)
        shutil.copy(PROXY_FILES / "nginx.conf", configuration)
        listen = (PROXY_FILES / "listen.conf").read_text(encoding="utf-8")
        assert "listen 8080 " in listen
        listen = listen.replace("listen 8080 ", f"listen 127.0.0.1:{self.port} ")
        (configuration / "listen.conf").write_text(listen, encoding="utf-8")
        upstreams = (PROXY_FILES / "upstreams.conf").read_text(encoding="utf-8")
        for first, ports in ((21, dispatchers), (31, gateways), (51, consoles)):
            for number, port in enumerate(ports):
                address = f"172.31.253.{first + number}:8080"
                assert address in upstreams
                upstreams = upstreams.replace(address, f"127.0.0.1:{port}")
        (configuration / "upstreams.conf").write_text(upstreams, encoding="utf-8")
        pid_path = folder / "nginx.pid"
        self._log_path = folder / "nginx.log"
        super().__init__(
            ChildSpec(
                name="nginx",
                command=(
                    *(program, "-p", f"{folder}/", "-e", "stderr"),
                    *("-c", str(configuration / "nginx.conf"), "-g", "daemon off;"),
                ),
                environment={"PATH": os.defpath},
                log_path=self._log_path,
                pid_path=pid_path,
                mark=str(folder),
                stop_signal=signal.SIGTERM,
                stop_seconds=5,
                run_as=None,
                is_ready=lambda _pid: _accepts(self.port),
            )
        )

    def log(self) -> str:
        return self._log_path.read_text(encoding="utf-8")


class Cluster:
    """What ends is started again, as compose would."""

    def __init__(self, folder: Path, postgres: PostgresServer, record: Record) -> None:
        self.lines: list[str] = []  # of processes that ended
        self._record = record
        nats_ports, routes = [[free_port() for _ in "123"] for _ in "12"]
        self.secrets = Secrets(folder / "secrets", nats_ports=nats_ports, postgres=postgres.dsn)
        self.nats = [
            DeployedNats(
                folder / name,
                self.secrets,
                port=nats_ports[number],
                name=name,
                cluster_port=routes[number],
                cluster_ports=tuple(routes),
            )
            for number, name in enumerate(("nats-1", "nats-2", "nats-3"))
        ]
        self.postgres = postgres
        self._ports = {f"{kind}-{number}": free_port() for kind in _KINDS for number in (1, 2)}
        self._running: dict[str, Process] = {}
        self._held: set[str] = set()  # the test starts these itself
        self.proxy = Proxy(
            folder / "proxy",
            dispatchers=[self._ports[f"dispatcher-{number}"] for number in (1, 2)],
            gateways=[self._ports[f"gateway-{number}"] for number in (1, 2)],
            consoles=[self._ports[f"console-{number}"] for number in (1, 2)],
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    @property
    def names(self) -> list[str]:
        """Of the processes."""
        return list(self._ports)

    def start(self) -> None:
        """In the order of compose: servers, migrations, processes, proxy."""
        for server in self.nats:
            server.start()
        for server in self.nats:  # with a leader, which a migration needs
            wait_until(server.is_healthy, seconds=_READY_SECONDS, what=lambda: "NATS not healthy")
        migrated = tidings("migrate", environment=self.secrets.of("operator") | REPLICAS)
        assert migrated.returncode == 0, migrated.stderr
        for name in self._ports:
            self._start(name)
        self.proxy.start()

    def close(self) -> None:
        for process in self._running.values():
            process.close()
        for server in (self.proxy, *self.nats):
            server.kill()

    def lines_with(self, text: str) -> list[str]:
        living = (line for process in self._running.values() for line in process.lines)
        return [line for line in (*self.lines, *living) if text in line]

    async def supervise(self) -> None:
        """Until cancelled. A process may give up while it starts, and never later."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            for name, process in list(self._running.items()):
                code = process.exit_code()
                if code is not None and name not in self._held:
                    self._record.counts["gave up"] += 1
                    if code != COULD_NOT_START:
                        self._record.violations.append(f"{name} ended with {code}")
                        print(process.output()[-5000:])
                    self._forget(name)
                    self._start(name)

    async def lose_process(self, name: str, *, seconds: float) -> None:
        """kill -9; it is back after `seconds`."""
        self._record.counts[f"losses of a {name[:-2]}"] += 1
        async with self.without(name):
            await asyncio.sleep(seconds)
        await self.ready(name)

    @asynccontextmanager
    async def without(self, name: str) -> AsyncIterator[None]:
        """It is killed for as long as this lasts, and started at the end."""
        with self._hold(name):
            self._running[name].kill()
            self._forget(name)
            try:
                yield
            finally:
                self._start(name)

    async def restart_process(self, name: str) -> None:
        """As a deployment does: SIGTERM, the new one, until it is ready."""
        self._record.counts["restarts in good order"] += 1
        with self._hold(name):
            process = self._running[name]
            code = await asyncio.to_thread(process.terminate)
            if code != 0:
                self._record.violations.append(f"{name} ended with {code} on SIGTERM")
                print(process.output()[-5000:])
            self._forget(name)
            self._start(name)
        await self.ready(name)

    async def lose_nats(self, number: int, *, seconds: float) -> None:
        self._record.counts["losses of a nats node"] += 1
        self.nats[number].kill()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.nats[number].start)
        await self.nats_healthy(number)

    async def restart_nats(self, number: int) -> None:
        self._record.counts["restarts in good order"] += 1
        await asyncio.to_thread(self.nats[number].stop)
        await asyncio.to_thread(self.nats[number].start)
        await self.nats_healthy(number)

    async def restart_postgres(self) -> None:
        self._record.counts["restarts of postgres"] += 1
        await asyncio.to_thread(self.postgres.stop)
        await asyncio.to_thread(self.postgres.start)

    async def ready(self, name: str) -> None:
        """As compose's health check asks."""
        url = f"http://127.0.0.1:{self._ports[name]}/health/ready"
        await eventually(lambda: _answers(url), seconds=_READY_SECONDS, what=f"{name} not ready")

    async def nats_healthy(self, number: int) -> None:
        """As compose's health check asks: it has caught up with the others."""
        await eventually(
            lambda: asyncio.to_thread(self.nats[number].is_healthy),
            seconds=_READY_SECONDS,
            what=f"nats-{number + 1} not healthy",
        )

    @contextmanager
    def _hold(self, name: str) -> Iterator[None]:
        self._held.add(name)
        try:
            yield
        finally:
            self._held.discard(name)

    def _start(self, name: str) -> None:
        kind = name[:-2]
        environment = self.secrets.of(kind) | {"TIDINGS_PORT": str(self._ports[name])}
        if kind == "dispatcher":
            environment |= REPLICAS | {"TIDINGS_PUBLIC_URL": self.url}
        if kind == "gateway":
            environment |= {"TIDINGS_GATEWAY_DRAIN_SECONDS": "1"}
        elif kind == "console":
            environment |= {"TIDINGS_CONSOLE_BEHIND_PROXY": "true"}
        else:
            environment |= {"TIDINGS_WEBHOOK_ALLOW": "127.0.0.0/8"}
        self._running[name] = Process(kind, environment=environment)

    def _forget(self, name: str) -> None:
        self.lines += self._running.pop(name).lines


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=2) as http:
            return (await http.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
