"""One server process: started, asked whether it is ready, stopped.

Synchronous, so that tests can drive a server without an event loop; no call waits but `stop` and
`end_leftover`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from services.cli.embedded import launcher
from services.cli.embedded.privileges import RunAs
from shared.runtime.errors import CouldNotStartError

_LOG_BYTES_MAX = 16 * 1024 * 1024
_POLL_SECONDS = 0.02
_KILLED_SECONDS = 10.0
_PROC = Path("/proc")  # Linux


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to run a server."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log_path: Path  # its standard output and error
    pid_path: Path  # the server writes its pid here
    mark: str  # in its command line and nobody else's: tells a leftover from a stranger
    stop_signal: signal.Signals  # ends it in good order
    stop_seconds: float  # then it is killed
    run_as: RunAs | None
    is_ready: Callable[[int], bool]  # pid -> does it serve; returns within a second


class Child:
    """A process of `spec`; may be started again after it ended."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, after a leftover of a dead parent is gone.

        Must be called in a thread that lives as long as the child should: Linux sends the death
        signal when that *thread* ends.
        """
        end_leftover(self.spec)
        _rotate(self.spec.log_path)
        log = os.open(self.spec.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(  # noqa: S603
                launch_command(self.spec.command, self.spec.stop_signal, self.spec.run_as),
                env=dict(self.spec.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we stop the child when we drained
            )
        finally:
            os.close(log)

    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return None if self._process is None else self._process.poll()

    def is_ready(self) -> bool:
        running = self._process is not None and self._process.poll() is None
        return running and self.spec.is_ready(self._process.pid if self._process else 0)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """In good order, then by force; waits until it is gone."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(self.spec.stop_signal)
        try:
            self._process.wait(self.spec.stop_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill -9; waits until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_KILLED_SECONDS)

    def last_words(self) -> str:
        """The end of its log, on one line."""
        try:
            lines = self.spec.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return " | ".join(line.strip() for line in lines[-3:] if line.strip())


def launch_command(
    command: tuple[str, ...], death_signal: signal.Signals, run_as: RunAs | None
) -> list[str]:
    """`command` behind the launcher, which ties it to this process and changes the user."""
    options = {
        "parent": os.getpid(),
        "death_signal": int(death_signal),
        "user": [run_as.uid, run_as.gid] if run_as else None,
        "capabilities": list(run_as.capabilities) if run_as else [],
    }
    return [sys.executable, "-I", "-S", launcher.__file__, json.dumps(options), *command]


def end_leftover(spec: ChildSpec) -> None:
    """Stop what a killed parent left behind, where it has not noticed by itself; waits for it.

    Raises:
        CouldNotStartError: it cannot be ended.
    """
    pid = _pid_in(spec.pid_path)
    if pid is None:
        return
    if spec.mark not in _command_line(pid):
        _forget(pid, spec.pid_path)
        return
    for number, seconds in (
        (spec.stop_signal, spec.stop_seconds),
        (signal.SIGKILL, _KILLED_SECONDS),
    ):
        _send(pid, number)
        if _ended_within(pid, spec.mark, seconds):
            _forget(pid, spec.pid_path)
            return
    raise CouldNotStartError(
        f"A {spec.name} of an earlier start (pid {pid}) does not end: stop it by hand."
    )


def _ended_within(pid: int, mark: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if mark not in _command_line(pid):
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise CouldNotStartError(
            f"Process {pid} of another user holds the data directory: stop it, "
            "or set TIDINGS_DATA to another directory."
        ) from error


def _forget(pid: int, pid_path: Path) -> None:
    """PostgreSQL would take a stranger who has the number now, or a zombie, for itself."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return
    except PermissionError:
        pass
    pid_path.unlink(missing_ok=True)


def _pid_in(path: Path) -> int | None:
    try:
        first_line = path.read_text(encoding="ascii", errors="replace").partition("\n")[0]
    except OSError:
        return None
    return int(first_line) if first_line.strip().isdigit() else None


def _command_line(pid: int) -> str:
    """Empty for a process that does not exist, and for a zombie."""
    if _PROC.is_dir():
        try:
            words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return ""
        return " ".join(os.fsdecode(word) for word in words)
    listing = subprocess.run(  # noqa: S603
        ["/bin/ps", "-ww", "-p", str(pid), "-o", "command="], capture_output=True, check=False
    )
    return os.fsdecode(listing.stdout)


def _rotate(log_path: Path) -> None:
    if log_path.exists() and log_path.stat().st_size > _LOG_BYTES_MAX:
        log_path.replace(log_path.with_suffix(".log.1"))
