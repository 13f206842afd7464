"""Commit to client, idle, beside commit and publish acknowledgement; prints JSON."""

import json
import os
import subprocess
import sys

import pytest

from tests.benchmarks.measured import ROOT
from tests.support.servers import NatsServer

pytestmark = [pytest.mark.integration, pytest.mark.long]


def test_a_push_takes_little_longer_than_to_make_it_durable(
    fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.latency"],
        cwd=ROOT,
        env={**os.environ, "BENCH_NATS": fresh_nats.url, "BENCH_POSTGRES": postgres_dsn},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found))

    told, floor = found["to_client"], found["floor"]
    assert told["p50_milliseconds"] <= 2.5 * floor["p50_milliseconds"]
    assert told["p99_milliseconds"] <= 4 * floor["p99_milliseconds"]
