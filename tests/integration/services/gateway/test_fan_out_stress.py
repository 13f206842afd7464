import asyncio
import random

import pytest

from services.gateway.fan_out import FanOut
from shared.log.keeper import LogKeeper
from shared.log.open_log import open_readable_log
from shared.store.pool import open_pool
from tests.support.eventually import eventually
from tests.support.servers import NatsServer
from tests.support.stress import (
    Counts,
    Orders,
    Reader,
    come_and_go,
    open_fan_out,
    open_writer,
    violations,
    whole_log,
    write,
)

ACCOUNTS = [f"a{n}" for n in range(40)]
READERS = 60
WRITERS = 16

pytestmark = pytest.mark.integration


async def _stress(
    nats_urls: list[str],
    dsn: str,
    servers: list[NatsServer],
    *,
    seconds: float,
    kills: int,
    replicas: int,
) -> Counts:
    """Two gateways, two dispatchers; one gateway's ring is too small, so it reads the log."""
    counts, orders, stop = Counts(), Orders(), asyncio.Event()
    url = ",".join(nats_urls)
    readers = [Reader(random.sample(ACCOUNTS, random.randint(1, 10))) for _ in range(READERS)]
    async with (
        open_pool(dsn) as pool,
        open_writer(url, pool, replicas=replicas) as first,
        open_writer(url, pool, replicas=replicas) as second,
        open_fan_out(url, pool) as large,
        open_fan_out(url, pool, recent_accounts_max=3) as small,
    ):
        await _keep_whole_history(first.keeper)
        async with asyncio.TaskGroup() as group:
            for n in range(WRITERS):
                appender = (first if n % 2 else second).appender
                group.create_task(write(appender, orders, ACCOUNTS, stop, counts))
            for reader in readers:
                group.create_task(come_and_go(reader, [large, small], stop, counts))
            for _ in range(kills):
                await asyncio.sleep(seconds / (kills + 1))
                server = random.choice(servers)
                server.kill()
                await asyncio.to_thread(server.start)
            await asyncio.sleep(seconds / (kills + 1))
            stop.set()
        await _all_end_at_the_newest(readers, [large, small], orders)
        async with open_readable_log(url, pool, name="truth") as log:
            sound = await log.keeper.verify()
            truth = await whole_log(log, sound.last_sequence)

    assert violations(readers, truth) == []
    for events in truth.values():
        for name in ("Email", "Mailbox", "Thread"):
            told = [s.event.changed[name].order for s in events if name in s.event.changed]
            assert told == sorted(set(told)), "the log went backwards"
    return counts


async def _keep_whole_history(keeper: LogKeeper) -> None:
    keeper._config["max_msgs_per_subject"] = -1
    assert await keeper.apply_topology()


async def _all_end_at_the_newest(
    readers: list[Reader], fan_outs: list[FanOut], orders: Orders
) -> None:
    async def caught_up(reader: Reader) -> bool:
        await reader.visit(random.choice(fan_outs), seconds=0.05, cursor=reader.cursor or "all")
        return all(
            reader.known.get(key) == order
            for key, order in orders.newest.items()
            if key[0] in reader.accounts
        )

    for reader in readers:
        await eventually(lambda reader=reader: caught_up(reader), seconds=10)  # type: ignore[misc]


async def test_no_cursor_hides_an_event_while_the_server_is_killed(
    fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    counts = await _stress(
        [fresh_nats.url], postgres_dsn, [fresh_nats], seconds=12, kills=3, replicas=1
    )

    assert counts.events > 100  # a busy machine is slow, and is waited for
    assert counts.sessions > 100


@pytest.mark.long
async def test_no_cursor_hides_an_event_while_leaders_are_killed(
    three_nats_servers: list[NatsServer], postgres_dsn: str
) -> None:
    counts = await _stress(
        [server.url for server in three_nats_servers],
        postgres_dsn,
        three_nats_servers,
        seconds=60,
        kills=4,
        replicas=3,
    )

    assert counts.events > 1_000
    assert counts.sessions > 1_000
