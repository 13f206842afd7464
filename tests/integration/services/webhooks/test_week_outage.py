"""An endpoint that was away for a week (docs/adr/0009): what it costs, and what it is told then.

The week passes by its rows: since when it fails, and when it is tried next.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from shared.jmap.state_change import parts_of
from tests.support.eventually import eventually
from tests.support.processes import Process
from tests.support.webhook_sink import Behaviour, WebhookSink
from tests.support.webhook_told import is_converged, is_failing, newest, told
from tests.support.webhooks import WebhookBench

pytestmark = pytest.mark.integration

OCTETS_MAX = 700
TYPES = tuple(f"Type{number}" for number in range(60))  # more than go into one message
ATTEMPTS_KEPT = 32
ANSWER = b"no" * 100  # as much as is kept of one
# Python's allocator takes and keeps some, whatever is done; 5,000 changes kept would be more.
MEMORY_BYTES = 8 << 20


class Cost(msgspec.Struct, frozen=True):
    lane_octets: int
    attempts: int
    attempts_octets: int
    memory: int  # resident, of the worker


@contextmanager
def worker_running(bench: WebhookBench) -> Iterator[Process]:
    process = Process(
        "webhooks",
        environment={
            "TIDINGS_NATS_URL": bench.nats_url,
            "TIDINGS_POSTGRES_URL": bench.dsn,
            "TIDINGS_SECRET_KEY": bench.secret,
            "TIDINGS_PORT": "0",
            "TIDINGS_WEBHOOK_ALLOW": "127.0.0.0/8",
            "TIDINGS_WEBHOOK_MESSAGE_OCTETS_MAX": str(OCTETS_MAX),
        },
    )
    try:
        yield process
        assert process.terminate() == 0, process.output()
    finally:
        process.close()


async def let_time_pass(bench: WebhookBench, subscription: str, hours: int) -> None:
    """The endpoint has failed for so much longer, and may be tried."""
    await bench.pool.execute(
        """
        UPDATE lanes SET due_at = now(), not_before = now(),
            failing_since = failing_since - make_interval(hours => $2),
            behind_since = behind_since - make_interval(hours => $2)
        WHERE subscription_id = $1
        """,
        subscription,
        hours,
    )


async def has_failed(bench: WebhookBench, subscription: str, times: int) -> bool:
    """An answer is at the sink before its failure is in the lane."""
    failures: int = (await bench.lane(subscription))["failures"]
    return failures >= times


async def cost_of(bench: WebhookBench, subscription: str, worker: Process) -> Cost:
    row = await bench.pool.fetchrow(
        """
        SELECT (SELECT pg_column_size(lanes.*) FROM lanes WHERE subscription_id = $1) AS lane,
            count(*) AS attempts, coalesce(sum(pg_column_size(a.*)), 0) AS octets
        FROM delivery_attempts AS a WHERE subscription_id = $1
        """,
        subscription,
    )
    assert row is not None
    return Cost(row["lane"], row["attempts"], row["octets"], resident(worker.pid))


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    [octets] = [int(line.split()[1]) << 10 for line in status.splitlines() if "VmRSS" in line]
    return octets


async def fail_for(
    bench: WebhookBench, sink: WebhookSink, subscription: str, account_id: str, attempts: int
) -> None:
    await eventually(lambda: is_failing(bench, subscription))
    for _ in range(attempts):
        count = len(sink.posts)
        failures = (await bench.lane(subscription))["failures"]
        await let_time_pass(bench, subscription, 168 // attempts)
        await bench.change(account_id, TYPES[0])
        await eventually(lambda: len(sink.posts) > count)  # noqa: B023
        await eventually(lambda: has_failed(bench, subscription, failures + 1))  # noqa: B023


@pytest.mark.parametrize(
    ("changes", "attempts"),
    [
        pytest.param((30, 300), 2, id="short"),
        pytest.param((500, 5000), 40, id="long", marks=pytest.mark.long),
    ],
)
async def test_what_a_week_of_changes_costs_does_not_grow_and_is_told_once(
    bench: WebhookBench, sink: WebhookSink, changes: tuple[int, int], attempts: int
) -> None:
    """After it there is one POST a split, each of the newest state."""
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    # A refusal, not a failure to reach the origin: its breaker counts in seconds, not in our hours.
    sink.behave("/a", Behaviour(status=400, body=ANSWER))
    costs = []
    with worker_running(bench) as worker:
        await bench.change(user.account_id, *TYPES)
        for count in changes:
            for number in range(count):
                await bench.change(user.account_id, TYPES[number % len(TYPES)])
            await fail_for(bench, sink, subscription, user.account_id, attempts)
            costs.append(await cost_of(bench, subscription, worker))
        failed = len(sink.posts)
        sink.behave("/a", Behaviour())
        await let_time_pass(bench, subscription, 168)
        await eventually(lambda: is_converged(bench, subscription))

    states = {name: f"s{bench.orders[user.account_id, name]}" for name in TYPES}
    parts = parts_of({user.account_id: states}, OCTETS_MAX)
    recovery = told(sink, "/a")[failed:]
    assert len(recovery) == len(parts) > 1
    assert newest(sink, "/a") == {user.account_id: states}
    merged = [item for part in recovery for item in part[user.account_id].items()]
    assert sorted(merged) == sorted(states.items())  # each once
    assert all(len(post.content) <= OCTETS_MAX for post in sink.posts)
    short, long = costs
    print(short, long)
    assert long.attempts <= min(ATTEMPTS_KEPT, 2 * attempts + 1)
    assert long.lane_octets <= short.lane_octets + 16  # longer numbers
    assert long.attempts_octets / long.attempts <= short.attempts_octets / short.attempts + 8
    assert long.memory < short.memory + MEMORY_BYTES
