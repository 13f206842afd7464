"""What a method in another process costs beside one in the dispatcher; prints JSON.

`tidings up`, the service and the client are three processes. One request at a time, the three ways
in turn, so that what the machine does besides falls on all of them.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import pytest

from tests.support.processes import ROOT, Program, Up

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

RUNS = 3
ROUND_TRIPS_MAX = 3.0  # 2.5 is the aim, and met in four runs of five, see docs/measured.md
LIBRARY_ROUND_TRIPS_MAX = 3.5  # a task of its own for each call, so that a slow one holds no other


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with ExitStack() as stack:
        up = Up(tmp_path / "data")
        stack.callback(up.close)
        echo = Program((sys.executable, "-m", "tests.benchmarks.echo_service", up.running.nats_url))
        stack.callback(echo.close)
        echo.wait_for_line("echoing")
        yield up


def test_a_remote_call_adds_at_most_two_and_a_half_round_trips(up: Up) -> None:
    """The best of a few runs counts, each the median of its rounds."""
    up.command("user", "add", "ada")
    token = up.command("token", "issue", "ada")["token"]
    runs = [added_round_trips(up, token) for _ in range(RUNS)]
    print(json.dumps({"added_round_trips": runs}))
    assert min(run["plain"] for run in runs) <= ROUND_TRIPS_MAX
    assert min(run["library"] for run in runs) <= LIBRARY_ROUND_TRIPS_MAX


def added_round_trips(up: Up, token: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.echo_client", up.url, up.running.nats_url, token],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    seconds = json.loads(done.stdout)
    print(json.dumps({"echo_median_seconds": {name: median(s) for name, s in seconds.items()}}))
    return {
        name: median(
            (remote - local) / bare
            for remote, local, bare in zip(
                seconds[name], seconds["local"], seconds["bare"], strict=True
            )
        )
        for name in ("plain", "library")
    }
