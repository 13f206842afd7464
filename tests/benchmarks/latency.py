"""`python -m tests.benchmarks.latency`: from the start of a commit to a client's socket, in JSON.

Beside it, by turns, the round trip that it cannot do without: the commit, and the acknowledgement
of a JetStream publish. BENCH_NATS and BENCH_POSTGRES name the servers.
"""

import asyncio
import json
import os
import time

import asyncpg
import uvloop

from shared.bus.connection import open_bus
from shared.bus.inbox import Inbox
from shared.bus.publisher import Publisher
from shared.log.event import Cause, Event, OrderedState, encode_event
from shared.log.subjects import subject_of
from shared.store.outbox import OutboxEntry, insert_outbox
from tests.support.everything import RunningEverything, everything_running
from tests.support.wire import EventSourceClient

TURNS = 300
WARM_UP_TURNS = 30
BETWEEN_SECONDS = 0.03  # idle, and above the flush time
BARE_ACCOUNT = "abare"


async def commit(pool: asyncpg.Pool, account_id: str, order: int) -> OutboxEntry:
    states = {"Email": OrderedState(f"s{order}", order)}
    async with pool.acquire() as connection, connection.transaction():
        return await insert_outbox(connection, account_id, states, Cause(method="Email/set"))


async def to_client(
    running: RunningEverything, stream: EventSourceClient, account_id: str, order: int
) -> float:
    start = time.perf_counter()
    running.everything.relay.wake(await commit(running.everything.pool, account_id, order))
    await stream.state()
    return time.perf_counter() - start


async def round_trip(
    running: RunningEverything, publisher: Publisher, last_sequence: int, order: int
) -> tuple[float, int]:
    """As little as it can be: an equal row, an equal event."""
    event = Event(
        changed={"Email": OrderedState(f"s{order}", order)}, unchanged={}, at="2026-01-01T00:00:00Z"
    )
    start = time.perf_counter()
    await commit(running.everything.pool, BARE_ACCOUNT, order)
    sequence = await publisher.append(
        subject_of(BARE_ACCOUNT), encode_event(event), last_sequence=last_sequence
    )
    return time.perf_counter() - start, sequence


def quantiles(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50_milliseconds": ordered[len(ordered) // 2] * 1000,
        "p99_milliseconds": ordered[int(len(ordered) * 0.99)] * 1000,
    }


async def main() -> None:
    nats_url = os.environ["BENCH_NATS"]
    told: list[float] = []
    floor: list[float] = []
    async with (
        everything_running(nats_url, os.environ["BENCH_POSTGRES"]) as running,
        open_bus(nats_url, name="floor") as bus,
        Inbox[int](bus) as inbox,
    ):
        publisher, sequence = Publisher(inbox), 0
        client, _ = await running.user("anna")
        await running.everything.pool.execute(
            "INSERT INTO accounts (id, name, is_personal) VALUES ($1, $1, false)", BARE_ACCOUNT
        )
        stream = await EventSourceClient.get(
            running.port,
            "/jmap/eventsource?types=Email",
            f"Authorization: Bearer {client.token}",
        )
        async with stream:
            for turn in range(1, WARM_UP_TURNS + TURNS + 1):
                await asyncio.sleep(BETWEEN_SECONDS)
                told.append(await to_client(running, stream, client.account_id, turn))
                await asyncio.sleep(BETWEEN_SECONDS)
                seconds, sequence = await round_trip(running, publisher, sequence, turn)
                floor.append(seconds)
    found = {"to_client": told[WARM_UP_TURNS:], "floor": floor[WARM_UP_TURNS:]}
    print(json.dumps({name: quantiles(seconds) for name, seconds in found.items()}))


if __name__ == "__main__":
    uvloop.run(main())
