"""`tidings up` as a person meets it: starts, refusals in one line, ends, and what it survives."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from services.cli.embedded.privileges import RunAs, postgres_user
from tests.support.eventually import eventually, wait_until
from tests.support.processes import Process, Up, is_running, tidings
from tests.support.servers import NatsServer

pytestmark = pytest.mark.end_to_end

CRASHED, COULD_NOT_START = 1, 3
Start = Callable[..., Up]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `tidings up`, by default on the test's own directory; ends it in any case."""
    with ExitStack() as stack:

        def started(data: Path = tmp_path / "data", **options: object) -> Up:
            up = Up(data, **options)  # type: ignore[arg-type]
            stack.callback(up.close)
            return up

        yield started


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_it_starts_says_so_and_ends_in_good_order(start: Start) -> None:
    up = start()
    children = up.children()
    assert up.data.stat().st_mode & 0o777 == 0o700
    for name in ("secrets.json", "run.json", "ports.json", "lock"):
        assert (up.data / name).stat().st_mode & 0o777 == 0o600
    assert up.terminate() == 0
    assert not any(is_running(pid) for pid in children.values())
    assert not (up.data / "run.json").exists()


def test_ctrl_c_ends_it_in_good_order(start: Start) -> None:
    up = start()
    up.interrupt()
    assert up.wait() == 0


@pytest.mark.parametrize("moment", ["", '"log_rebuild_started"', "User demo was created"])
def test_it_can_be_ended_while_it_starts(tmp_path: Path, moment: str) -> None:
    environment = {"TIDINGS_DATA": str(tmp_path / "data"), "TIDINGS_PORT": "0"}
    process = Process("up", environment=environment)
    try:
        if moment:
            process.wait_for_line(moment)
        else:
            wait_until((tmp_path / "data" / "secrets.json").exists)
        assert process.terminate() == 0
        assert "Traceback" not in process.output()
    finally:
        process.close()
    again = Process("up", environment=environment)
    try:
        again.wait_for_line("Tidings is ready")
    finally:
        assert again.terminate() == 0
        again.close()


def test_it_starts_again_on_the_same_directory(start: Start) -> None:
    first = start()
    urls = first.running.nats_url, first.running.postgres_url
    first.terminate()
    second = start()
    assert (second.running.nats_url, second.running.postgres_url) == urls


def test_a_second_one_on_the_same_directory_is_refused(start: Start) -> None:
    up = start()
    refused = tidings("up", environment={"TIDINGS_DATA": str(up.data), "TIDINGS_PORT": "0"})
    assert refused.returncode == COULD_NOT_START
    assert one_line(refused.stderr) == (
        f"tidings: Another tidings (pid {up.pid}) runs on {up.data}: stop it, "
        "or set TIDINGS_DATA to another directory."
    )
    assert up.terminate() == 0


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = tidings(
            "up", environment={"TIDINGS_DATA": str(tmp_path / "data"), "TIDINGS_PORT": port}
        )
    assert refused.returncode == COULD_NOT_START
    assert f"Port {port} on 127.0.0.1 is taken" in one_line(refused.stderr)
    assert not (tmp_path / "data" / "postgres").exists()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("TIDINGS_PRT", "1", "TIDINGS_PRT is not a setting of Tidings: did you mean TIDINGS_PORT?"),
        ("TIDINGS_PORT", "http", "TIDINGS_PORT: expected `int`, got `str`."),
        ("TIDINGS_DATA", "/dev/null/data", "/dev/null/data is not a directory"),
        ("TIDINGS_DATA", "/proc/data", "/proc/data cannot be used"),
        ("TIDINGS_TLS_CERT", "/nowhere", "TIDINGS_TLS_CERT and TIDINGS_TLS_KEY go together"),
        pytest.param(
            *("TIDINGS_NATS_URL", "nats://127.0.0.1:1", "correct TIDINGS_NATS_URL"),
            marks=pytest.mark.long,  # it is waited for
        ),
        ("TIDINGS_POSTGRES_URL", "postgresql://127.0.0.1:1/x", "correct TIDINGS_POSTGRES_URL"),
        ("TIDINGS_POSTGRES_URL", "nonsense", "correct TIDINGS_POSTGRES_URL"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(
    tmp_path: Path, variable: str, value: str, says: str
) -> None:
    environment = {"TIDINGS_DATA": str(tmp_path / "data"), "TIDINGS_PORT": "0", variable: value}
    refused = tidings("up", environment=environment)
    assert refused.returncode == COULD_NOT_START
    assert says in one_line(refused.stderr)
    assert "Traceback" not in refused.stdout


def test_secrets_of_other_servers_are_refused(start: Start) -> None:
    up = start()
    assert up.terminate() == 0
    (up.data / "secrets.json").unlink()
    refused = tidings("up", environment=up.environment)
    assert refused.returncode == COULD_NOT_START
    assert "put that one back" in one_line(refused.stderr)


def test_damaged_files_are_refused(start: Start) -> None:
    up = start()
    assert up.terminate() == 0
    for name in ("ports.json", "secrets.json"):
        (up.data / name).write_bytes(b"{")
        refused = tidings("up", environment=up.environment)
        assert refused.returncode == COULD_NOT_START
        assert f"{name} is damaged" in one_line(refused.stderr)
    (up.data / "secrets.json").unlink()
    (up.data / "ports.json").unlink()
    (up.data / "postgres" / "PG_VERSION").write_text("9\n", encoding="ascii")
    refused = tidings("up", environment=up.environment)
    assert "PostgreSQL ended at its start" in one_line(refused.stderr)


def test_a_start_that_was_interrupted_is_made_up_for(start: Start, tmp_path: Path) -> None:
    """Killed while the database's files were made, or the secrets written."""
    unfinished = tmp_path / "data" / "postgres.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").touch()
    (tmp_path / "data" / "secrets.new").write_bytes(b"{")
    up = start()
    assert up.terminate() == 0
    assert not unfinished.exists()


def test_an_old_nats_server_is_refused(tmp_path: Path) -> None:
    with old_nats_server() as url:
        environment = {"TIDINGS_DATA": str(tmp_path / "data"), "TIDINGS_PORT": "0"}
        refused = tidings("up", environment=environment | {"TIDINGS_NATS_URL": url})
    assert refused.returncode == COULD_NOT_START
    assert "NATS server 2.10.29 is too old" in one_line(refused.stderr)


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "not-ours"
    folder.mkdir()
    stranger = ordinary_user()
    if stranger is None:
        folder.chmod(0o500)
    refused = tidings(
        "up",
        environment={"TIDINGS_DATA": str(folder / "data"), "TIDINGS_PORT": "0"},
        run_as=stranger,
    )
    assert refused.returncode == COULD_NOT_START
    assert "cannot be written by this user: set TIDINGS_DATA" in one_line(refused.stderr)


def test_an_ordinary_user_needs_no_privilege(start: Start, tmp_path: Path) -> None:
    """Root plays an ordinary user; everybody else is one."""
    user = ordinary_user()
    if user is not None:
        os.chown(tmp_path, user.uid, user.gid)
    up = start(tmp_path / "own", run_as=user)
    owner = user.uid if user is not None else os.getuid()
    assert (up.data / "postgres").stat().st_uid == owner
    assert up.terminate() == 0


def test_servers_that_are_given_are_used_and_left_alone(
    start: Start, fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    up = start(
        environment={"TIDINGS_NATS_URL": fresh_nats.url, "TIDINGS_POSTGRES_URL": postgres_dsn}
    )
    assert not (up.data / "postgres").exists()
    assert not (up.data / "nats").exists()
    assert up.command("user", "add", "ada")["user"]
    assert up.terminate() == 0
    assert fresh_nats.pid is not None
    assert is_running(fresh_nats.pid)


async def test_dead_servers_are_started_again_and_said_so(start: Start) -> None:
    up = start()
    url = up.running.postgres_url
    for name, server in (("postgres", "PostgreSQL"), ("nats", "NATS server")):
        before = up.children()[name]
        os.kill(before, signal.SIGKILL)
        up.wait_for_line(rf'"embedded_server_died".*"{server}"')
        up.wait_for_line(rf'"embedded_server_restarted".*"{server}"')
        assert up.children()[name] != before
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT count(*) FROM users") >= 0
    await connection.close()
    assert up.terminate() == 0


async def test_nothing_survives_its_sudden_death(start: Start) -> None:
    up = start()
    children = up.children()
    up.kill()
    await eventually(lambda: not any(is_running(pid) for pid in children.values()))


def test_it_starts_at_once_after_its_sudden_death(start: Start) -> None:
    """Servers of the dead one may still be ending."""
    start().kill()
    up = start()
    assert up.terminate() == 0


def test_leftovers_that_do_not_notice_are_ended_by_the_next_start(start: Start) -> None:
    """As where the system does not tell children of their parent's death."""
    up = start()
    children = up.children()
    for pid in children.values():
        os.kill(pid, signal.SIGSTOP)
    up.kill()
    again = start()
    wait_until(lambda: not any(is_running(pid) for pid in children.values()))
    assert again.terminate() == 0


def test_output_that_nobody_reads_does_not_matter(tmp_path: Path) -> None:
    environment = {"TIDINGS_DATA": str(tmp_path / "data"), "TIDINGS_PORT": "0"}
    process = Process("up", environment=environment)
    try:
        process.wait_for_line("Tidings is ready")
    finally:
        assert process.terminate() == 0


@contextmanager
def old_nats_server() -> Iterator[str]:
    """What the client sees of one: its greeting, and an answer to its PING."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            greeting = {"server_id": "OLD", "version": "2.10.29", "max_payload": 1048576}
            connection.sendall(b"INFO " + msgspec.json.encode(greeting) + b"\r\n")
            for line in lines:
                if line.startswith(b"PING"):
                    connection.sendall(b"PONG\r\n")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    with listener:
        yield f"nats://127.0.0.1:{port}"
        thread.join(10)


def ordinary_user() -> RunAs | None:
    """For root, somebody else who may pass through the folders of this Python; else None: us."""
    return postgres_user(Path("/nonexistent"), Path("/bin/sh"))
