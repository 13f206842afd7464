"""What a worker delivers a second beside a bare client that posts the same; prints JSON.

All lanes fall due at once, so the worker is as busy as it can be: it merges, claims, reads, signs,
posts, settles and keeps the attempts. The sink's clock counts, from the first post to the last; the
rounds of both sides in turn, PostgreSQL with fsync, the best round of each side.
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.store.migrate import migrate
from shared.web_push.subscription_keys import parse_subscription_keys
from tests.support.eventually import eventually
from tests.support.servers import NatsServer, PostgresServer
from tests.support.webhook_sink import Subscriber
from tests.support.webhooks import WebhookBench, WebhookUser, webhook_bench

pytestmark = [pytest.mark.integration, pytest.mark.long]

ROOT = Path(__file__).parents[2]
LANES = 3_000
ORIGINS = 20
AT_ONCE = 100
ROUNDS = 4


class Process:
    """One of tests/benchmarks/webhooks.py."""

    def __init__(self, kind: str, **arguments: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.webhooks", kind, json.dumps(arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self) -> None:
        assert self._process.stdin is not None
        print("go", file=self._process.stdin, flush=True)

    def line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self) -> Any:
        self.tell()
        return self.line()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def process(kind: str, **arguments: Any) -> Iterator[Process]:
    running = Process(kind, **arguments)
    try:
        yield running
    finally:
        running.close()


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_worker_delivers_at_a_share_of_the_rate_of_a_bare_client(
    fresh_nats: NatsServer, fresh_postgres: PostgresServer, *, is_encrypted: bool
) -> None:
    found = asyncio.run(compare(fresh_nats.url, fresh_postgres.dsn, is_encrypted=is_encrypted))
    print(json.dumps({f"deliveries_{'encrypted' if is_encrypted else 'plain'}": found}))

    assert found["ratio"] >= 0.5


async def compare(nats_url: str, dsn: str, *, is_encrypted: bool) -> dict[str, float]:
    await migrate(dsn)
    ours, theirs = [], []
    async with webhook_bench(nats_url, dsn) as bench:
        with process("sink", origins=ORIGINS) as sink:
            ports = sink.line()
            users = await subscribed(bench, ports, is_encrypted=is_encrypted)
            for number in range(ROUNDS):
                theirs.append(bare_rate(sink, ports, is_encrypted=is_encrypted))
                found = await worker_rate(bench, sink, users)
                if number:  # the first makes the consumer, and fills every cache
                    ours.append(found)
    return {
        "bare_per_second": max(theirs),
        "ours_per_second": max(ours),
        "ratio": max(ours) / max(theirs),
    }


async def subscribed(
    bench: WebhookBench, ports: list[int], *, is_encrypted: bool
) -> list[WebhookUser]:
    given = parse_subscription_keys(**Subscriber().keys)
    keys = (given.p256dh, given.auth) if is_encrypted else None
    users = []
    for number in range(LANES):
        user = await bench.user()
        url = f"http://127.0.0.1:{ports[number % ORIGINS]}/w{number}"
        await bench.subscribe(user, url, keys=keys)
        users.append(user)
    return users


def bare_rate(sink: Process, ports: list[int], *, is_encrypted: bool) -> float:
    options = {"is_encrypted": is_encrypted, "at_once": AT_ONCE}
    with process("bare", ports=ports, count=LANES, **options) as client:
        client.ask()
    count, seconds = sink.ask()
    assert count == LANES
    return float(count / seconds)


async def worker_rate(bench: WebhookBench, sink: Process, users: list[WebhookUser]) -> float:
    settings = {"healthy_at_once_max": AT_ONCE}
    arguments = {"dsn": bench.dsn, "nats_url": bench.nats_url, "secret_key": bench.secret}
    with process("worker", settings=settings, **arguments) as worker:
        for start in range(0, LANES, AT_ONCE):
            changes = (
                bench.change(user.account_id, "Email", "Mailbox")
                for user in users[start : start + AT_ONCE]
            )
            await asyncio.gather(*changes)
        newest = max(bench.sequences.values())
        worker.tell()
        await eventually(lambda: all_told(bench, newest), seconds=60)
    count, seconds = sink.ask()
    assert count >= LANES
    return float(count / seconds)


async def all_told(bench: WebhookBench, newest: int) -> bool:
    told: bool = await bench.pool.fetchval(
        "SELECT bool_and(behind_since IS NULL) AND max(target) >= $1 FROM lanes", newest
    )
    await asyncio.sleep(0.2)  # the question costs the server more than a delivery
    return told
