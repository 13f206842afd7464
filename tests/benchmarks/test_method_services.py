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

import pytest

from tests.support.processes import ROOT, Program, Up

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

ROUND_TRIPS_MAX = 2.5


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
    up.command("user", "add", "ada")
    token = up.command("token", "issue", "ada")["token"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.echo_client", up.url, up.running.nats_url, token],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    seconds = json.loads(done.stdout)
    added = (seconds["remote"] - seconds["local"]) / seconds["bare"]
    print(json.dumps({"echo_median_seconds": seconds, "added_round_trips": added}))
    assert added <= ROUND_TRIPS_MAX
