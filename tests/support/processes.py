"""`tidings` as real processes, seen only from outside."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from services.cli.embedded.child import launch_command
from services.cli.embedded.data_directory import DataDirectory, Running
from services.cli.embedded.privileges import RunAs
from tests.support.eventually import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
_READY = re.compile(r"Tidings is ready: (\S+)")
_READY_SECONDS = 60
_COMMAND_SECONDS = 60
_PROGRAM = (sys.executable, "-m", "services.cli")


class Program:
    """Runs until it is told to end; its output is kept by line."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        run_as: RunAs | None = None,
        folder: Path = ROOT,
    ) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            launch_command(tuple(command), signal.SIGKILL, run_as),
            cwd=folder,
            env=environment_of_test(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._collect, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for_line(self, pattern: str, *, seconds: float = 30, count: int = 1) -> str:
        """The newest line with a match, once there are `count` of them."""

        def found() -> list[str]:
            lines = [line for line in self.lines if re.search(pattern, line)]
            return lines if len(lines) >= count else []

        def ended_or_found() -> bool:
            return bool(found()) or self._process.poll() is not None

        wait_until(ended_or_found, seconds=seconds, what=self.output)
        assert found(), f"no line {pattern!r} in:\n{self.output()}"
        return found()[-1]

    def output(self) -> str:
        return "\n".join(self.lines)

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self._process.terminate()
        return self.wait()

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def wait(self, *, seconds: float = 20) -> int:
        return self._process.wait(seconds * PATIENCE)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def pause(self) -> None:
        """Hangs until `resume`; its sockets stay open."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        if self._process.poll() is None:
            self.kill()
        if self._process.stdout is not None:
            output = self._process.stdout
            wait_until(lambda: output.closed, seconds=10)

    def _collect(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))


class Process(Program):
    """A command of `tidings`."""

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        run_as: RunAs | None = None,
    ) -> None:
        super().__init__((*_PROGRAM, *arguments), environment=environment, run_as=run_as)


class Up(Process):
    """`tidings up` on a directory and a port of its own; returns once it says that it is ready."""

    def __init__(
        self,
        data: Path,
        *,
        port: int = 0,
        environment: Mapping[str, str] | None = None,
        run_as: RunAs | None = None,
    ) -> None:
        self.data = data
        self.environment = {
            "TIDINGS_DATA": str(data),
            "TIDINGS_PORT": str(port),
            **(environment or {}),
        }
        super().__init__("up", environment=self.environment, run_as=run_as)
        try:
            ready = _READY.search(self.wait_for_line(_READY.pattern, seconds=_READY_SECONDS))
        except BaseException:
            self.close()
            raise
        assert ready is not None
        self.url = ready[1]

    @property
    def running(self) -> Running:
        running = DataDirectory(self.data).running()
        assert running is not None
        return running

    def children(self) -> dict[str, int]:
        """Pids of the embedded servers, by `nats` and `postgres`."""
        found = {}
        for name, path in (("nats", "nats.pid"), ("postgres", "postgres/postmaster.pid")):
            text = (self.data / path).read_text(encoding="utf-8")
            found[name] = int(text.partition("\n")[0])
        return found

    def command(self, *arguments: str) -> dict[str, str]:
        """Run an admin command with --json, say `command("user", "add", "joe")`."""
        done = tidings(*arguments, "--json", environment=self.environment)
        assert done.returncode == 0, done.stderr
        answer: dict[str, str] = msgspec.json.decode(done.stdout)
        return answer


def tidings(
    *arguments: str, environment: Mapping[str, str] | None = None, run_as: RunAs | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        launch_command((*_PROGRAM, *arguments), signal.SIGKILL, run_as),
        cwd=ROOT,
        env=environment_of_test(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS * PATIENCE,
        check=False,
    )


def environment_of_test(additions: Mapping[str, str] | None) -> dict[str, str]:
    """Ours without any setting of Tidings, which those of the tests would be unknown to."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIDINGS_")}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **(additions or {})}


def is_running(pid: int) -> bool:
    """A zombie does not run."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        return subprocess.run(["/bin/kill", "-0", str(pid)], check=False).returncode == 0
    return status.rpartition(")")[2].split()[0] != "Z"
