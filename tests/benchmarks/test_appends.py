"""Events a second through the append API of one dispatcher, to a bare publisher's; prints JSON."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from statistics import median

import httpx
import msgspec
import pytest

from services.cli.embedded.ports import free_port
from shared.store.migrate import migrate
from tests.benchmarks.appends import Round
from tests.benchmarks.measured import ROOT
from tests.support.eventually import wait_until
from tests.support.processes import environment_of_test
from tests.support.servers import NatsServer, PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.long]


@pytest.fixture
def dispatcher(fresh_nats: NatsServer, fresh_postgres: PostgresServer) -> Iterator[tuple[int, int]]:
    """Its port and its pid; `tidings dispatcher` as it is, on durable servers."""
    asyncio.run(migrate(fresh_postgres.dsn))
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli", "dispatcher"],
        cwd=ROOT,
        env=environment_of_test(
            {
                "TIDINGS_PORT": str(port),
                "TIDINGS_NATS_URL": fresh_nats.url,
                "TIDINGS_POSTGRES_URL": fresh_postgres.dsn,
                "TIDINGS_SECRET_KEY": "0" * 64,
            }
        ),
        stdout=subprocess.DEVNULL,
    )

    def is_ready() -> bool:
        try:
            url = f"http://127.0.0.1:{port}/health/ready"
            return httpx.get(url, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    wait_until(is_ready, seconds=30)
    yield port, process.pid
    process.kill()
    process.wait()


def test_a_dispatcher_appends_at_two_fifths_of_a_bare_publishers_rate(
    dispatcher: tuple[int, int], fresh_nats: NatsServer, fresh_postgres: PostgresServer
) -> None:
    port, pid = dispatcher
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.appends"],
        cwd=ROOT,
        env={
            **os.environ,
            "BENCH_NATS": fresh_nats.url,
            "BENCH_POSTGRES": fresh_postgres.dsn,
            "BENCH_PORT": str(port),
            "BENCH_PID": str(pid),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode(done.stdout.splitlines()[-1], type=dict[str, list[Round]])
    ratios = {way: median(it.rate / it.floor for it in rounds) for way, rounds in found.items()}
    for way, rounds in found.items():
        rates = [round(it.rate) for it in rounds]
        floors = [round(it.floor) for it in rounds]
        cpu = median(it.cpu for it in rounds)
        told = {"ratio": ratios[way], "rates": rates, "floors": floors, "dispatcher_cpu": cpu}
        print(json.dumps({way: told}))

    assert ratios["large"] >= 0.4
    assert ratios["small_keyed"] >= 0.4
    # 0.4 is the aim, met but where the disk is fast and others work, see docs/measured.md.
    assert ratios["small"] >= 0.3
