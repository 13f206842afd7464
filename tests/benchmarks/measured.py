"""A server of `tests.benchmarks.servers` as a process that is asked."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Server:
    def __init__(self, kind: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.servers", kind],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())

    def ask(self, command: str) -> float:
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        return float(json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server ended"
        return line

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def server(kind: str, **environment: str) -> Iterator[Server]:
    running = Server(kind, environment)
    try:
        yield running
    finally:
        running.close()
