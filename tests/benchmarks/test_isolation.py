"""How much later healthy endpoints are told while others misbehave; prints JSON.

100 healthy endpoints of one worker; rounds with and without 100 bad ones in turn, in one run. A
latency is from the append to the arrival, by the clock of the endpoint. In each round the accounts
of the bad ones change as often, whether somebody is subscribed to them or not. The best round of
each side counts: what else the machine does only adds.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.servers import NatsServer
from tests.support.webhooks import WebhookBench, WebhookUser, webhook_bench

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
ENDPOINTS = 100
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "4"))  # of each side
ROUND_SECONDS = float(os.environ.get("BENCH_ROUND_SECONDS", "18"))  # a timeout is 15
CHANGES_PER_SECOND = 60.0
# Who never answers costs next to nothing; the others are also asked again and again.
RATIO_MAX = {"hole": 1.2, "throttled": 2.0, "slow": 2.0}


class Child:
    """A process that is asked by lines."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self) -> Any:
        self.tell()
        return self.hear()

    def tell(self) -> None:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


@contextmanager
def child(module: str, *arguments: str) -> Iterator[Child]:
    running = Child(module, *arguments)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


class Healthy:
    """Endpoints that answer at once, and how late they were told."""

    def __init__(self, bench: WebhookBench, sink: Child, users: Sequence[WebhookUser]) -> None:
        self._bench = bench
        self._sink = sink
        self._users = users
        self._paths = {f"/ok/{place}": user.account_id for place, user in enumerate(users)}

    async def measure(self, seconds: float, others: Sequence[WebhookUser]) -> list[float]:
        """Milliseconds of each change of a while, at a steady pace."""
        await asyncio.to_thread(self._sink.ask)
        appended: dict[str, list[tuple[int, float]]] = {u.account_id: [] for u in self._users}
        begun = time.monotonic()
        number = 0
        while (ahead := begun + number / CHANGES_PER_SECOND) < begun + seconds:
            await asyncio.sleep(max(0.0, ahead - time.monotonic()))
            user = self._users[number % len(self._users)]
            at = time.monotonic()
            states = await self._bench.change(user.account_id)
            appended[user.account_id].append((_number(states["Email"]), at))
            if others and number % 2:
                await self._bench.change(others[number // 2 % len(others)].account_id)
            number += 1
        found: dict[str, list[float]] = {}
        came: dict[str, list[Any]] = {path: [] for path in self._paths}

        async def has_all() -> bool:
            for path, posts in (await asyncio.to_thread(self._sink.ask)).items():
                if path in came:
                    came[path] += posts
            for path, account_id in self._paths.items():
                found[path] = _latencies(appended[account_id], came[path], account_id)
            return sum(map(len, found.values())) == number

        await eventually(has_all, seconds=60)
        return [milliseconds for path in found for milliseconds in found[path]]


def _latencies(
    appended: Sequence[tuple[int, float]], came: Sequence[Any], account_id: str
) -> list[float]:
    """Of each change until the first post of it or of a newer one."""
    told = [
        (at, _number(change["changed"][account_id]["Email"]))
        for at, body in came
        if account_id in (change := json.loads(body))["changed"]
    ]
    found = []
    for number, at in appended:
        arrivals = [arrived for arrived, state in told if state >= number]
        if arrivals:
            found.append((min(arrivals) - at) * 1000)
    return found


def _number(state: str) -> int:
    return int(state[1:])


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def with_and_without(
    nats_url: str, dsn: str, kind: str, ports: Sequence[int], sink: Child
) -> dict[str, Any]:
    """`ports`: of the healthy ones first, then of each bad one."""
    async with webhook_bench(nats_url, dsn) as bench:
        users = [await bench.user() for _ in range(ENDPOINTS)]
        for place, user in enumerate(users):
            await bench.subscribe(user, f"http://127.0.0.1:{ports[0]}/ok/{place}")
        others = [await bench.user() for _ in range(ENDPOINTS)]
        parameters = {"dsn": dsn, "nats_url": nats_url, "secret_key": bench.secret, "settings": {}}
        with child("tests.benchmarks.webhooks", "worker", json.dumps(parameters)) as worker:
            worker.tell()
            healthy = Healthy(bench, sink, users)
            await healthy.measure(5, others)
            without, beside = [], []
            for _ in range(ROUNDS):
                without.append(await healthy.measure(ROUND_SECONDS, others))
                bad = [
                    await bench.subscribe(
                        user,
                        f"http://127.0.0.1:{ports[1 + place % (len(ports) - 1)]}/{kind}/{place}",
                    )
                    for place, user in enumerate(others)
                ]
                beside.append(await healthy.measure(ROUND_SECONDS, others))
                await bench.pool.execute("DELETE FROM push_subscriptions WHERE id = ANY ($1)", bad)
    p99s = [[percentile(one, 0.99) for one in side] for side in (without, beside)]
    return {
        "changes_of_each_side": sum(map(len, without)),
        "p50_ms": [
            percentile([ms for one in side for ms in one], 0.5) for side in (without, beside)
        ],
        "p99_ms_of_rounds": p99s,
        "p99_ms_of_best_rounds": [min(side) for side in p99s],
        "ratio": min(p99s[1]) / min(p99s[0]),
    }


@pytest.mark.parametrize(
    ("kind", "origins"),
    [
        ("hole", "of their own"),
        ("hole", "one"),
        ("hole", "that of the healthy"),
        ("throttled", "that of the healthy"),
        ("slow", "that of the healthy"),
    ],
)
def test_bad_endpoints_hold_up_themselves_only(
    fresh_nats: NatsServer, postgres_dsn: str, kind: str, origins: str
) -> None:
    count = {"of their own": ENDPOINTS, "one": 1, "that of the healthy": 0}[origins]
    with child("tests.benchmarks.timed_sink", str(1 + count)) as sink:
        ports = sink.hear()
        ports += ports if not count else []
        found = asyncio.run(with_and_without(fresh_nats.url, postgres_dsn, kind, ports, sink))
    print(json.dumps({f"isolation_{kind}_{origins}": found}))

    assert found["ratio"] <= RATIO_MAX[kind], found
