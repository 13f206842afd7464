"""Parts of a deployment on loopback: the files that compose mounts, with ports of a test."""

import signal
from pathlib import Path

import httpx

from services.cli.deployment import write_secrets
from services.cli.embedded.child import ChildSpec
from services.cli.embedded.nats_server import greets, nats_program
from services.cli.embedded.ports import free_port
from shared.runtime.nats_files import NATS_FILES
from tests.support.servers import Server


class Secrets:
    """What `tidings secrets` writes, for servers on these ports."""

    def __init__(self, folder: Path, *, nats_ports: list[int], postgres: str) -> None:
        self._folder = folder
        write_secrets(folder, [f"127.0.0.1:{port}" for port in nats_ports], "127.0.0.1:1")
        self._postgres = postgres

    def of(self, name: str) -> dict[str, str]:
        """The variables of `<name>.env`; PostgreSQL is the test's."""
        lines = (self._folder / f"{name}.env").read_text(encoding="utf-8").splitlines()
        variables = dict(line.split("=", 1) for line in lines)
        if "TIDINGS_POSTGRES_URL" in variables:
            variables["TIDINGS_POSTGRES_URL"] = self._postgres
        return variables

    def nats_url(self, user: str) -> str:
        return self.of(user)["TIDINGS_NATS_URL"]


class DeployedNats(Server):
    """A server by `nats/node.conf`, or one of several by `nats/cluster.conf`."""

    def __init__(
        self,
        folder: Path,
        secrets: Secrets,
        *,
        port: int,
        name: str = "nats-1",
        cluster_port: int = 0,
        cluster_ports: tuple[int, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        monitor_port = free_port()
        self._health_url = f"http://127.0.0.1:{monitor_port}/healthz"
        configuration = NATS_FILES / ("cluster.conf" if cluster_ports else "node.conf")
        pid_path = folder / "nats.pid"
        environment = secrets.of("nats")
        routes = ",".join(
            f"nats://route:{environment['NATS_ROUTE_PASSWORD']}@127.0.0.1:{member}"
            for member in cluster_ports
        )
        environment |= {
            "NATS_HOST": "127.0.0.1",
            "NATS_PORT": str(port),
            "NATS_SERVER_NAME": name,
            "NATS_MONITOR": f"127.0.0.1:{monitor_port}",
            "NATS_STORE_DIR": str(folder / "store"),
            "NATS_CLUSTER_LISTEN": f"127.0.0.1:{cluster_port}",
            "NATS_CLUSTER_ROUTES": f"[{routes}]",
        }
        super().__init__(
            ChildSpec(
                name=name,
                command=(str(nats_program()), "-c", str(configuration), "-P", str(pid_path)),
                environment=environment,
                log_path=folder / "nats.log",
                pid_path=pid_path,
                mark=str(pid_path),
                stop_signal=signal.SIGTERM,
                stop_seconds=5,
                run_as=None,
                is_ready=lambda _pid: greets(port),
            )
        )

    def is_healthy(self) -> bool:
        """As compose asks: it knows the cluster's leader, and has caught up."""
        try:
            return httpx.get(self._health_url, trust_env=False, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False
