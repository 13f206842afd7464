"""The real log under appenders that race, repeat and lose their server."""

import asyncio
import random

import pytest

from shared.bus.connection import open_bus
from shared.bus.jetstream import JetStream
from shared.log.appender import LogUnavailableError
from shared.log.event import Cause, OrderedState, changed_since, newest
from shared.log.open_log import open_readable_log
from shared.log.subjects import STREAM
from shared.store.pool import open_pool
from tests.support.eventually import eventually
from tests.support.servers import NatsServer
from tests.support.stress import AT, open_writer, whole_log

pytestmark = pytest.mark.integration


def _state(order: int) -> OrderedState:
    return OrderedState(f"s{order}", order)


async def test_racing_appenders_leave_each_account_at_its_newest_state(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    """Duplicated, reordered and concurrent appends of two processes (docs/adr/0002)."""
    mutations = [
        (f"a{account}", {name: _state(order)})
        for account in range(20)
        for order in range(1, 16)
        for name in random.sample(["Email", "Mailbox"], random.randint(1, 2))
    ]
    async with (
        open_pool(postgres_dsn) as pool,
        open_writer(clean_nats_url, pool) as first,
        open_writer(clean_nats_url, pool) as second,
        open_readable_log(clean_nats_url, pool, name="test") as log,
    ):
        async with asyncio.TaskGroup() as group:
            for writer in (first, second):
                for account_id, states in random.sample(mutations, len(mutations)):
                    group.create_task(
                        writer.appender.append(account_id, states, at=AT, cause=Cause())
                    )
        truth = await whole_log(log, (await log.keeper.verify()).last_sequence)

    expected: dict[str, dict[str, OrderedState]] = {}
    for account_id, states in mutations:
        expected[account_id] = newest(expected.get(account_id, {}), states)
    for account_id, states in expected.items():
        events = truth[account_id]
        assert changed_since(events[-1], 0) == {name: s.state for name, s in states.items()}
        for name in states:
            told = [s.event.changed[name].order for s in events if name in s.event.changed]
            assert told == sorted(set(told))


async def test_an_append_repeated_by_another_process_adds_nothing(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    states = {"Email": _state(7)}
    async with open_pool(postgres_dsn) as pool:
        async with open_writer(clean_nats_url, pool) as log:
            sequence = await log.appender.append("a1", states, at=AT, cause=Cause())
        async with open_writer(clean_nats_url, pool) as log:
            again = await log.appender.append("a1", states, at=AT, cause=Cause())
            older = await log.appender.append("a1", {"Email": _state(6)}, at=AT, cause=Cause())

            assert (again, older) == (sequence, sequence)
            assert (await log.keeper.verify()).last_sequence == sequence


async def test_nothing_is_appended_before_the_log_was_checked(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool, open_writer(clean_nats_url, pool) as log:
        log.guard.doubt()

        with pytest.raises(LogUnavailableError):
            await log.appender.append("a1", {"Email": _state(1)}, at=AT, cause=Cause())

        await log.guard.epoch()
        assert await log.appender.append("a1", {"Email": _state(1)}, at=AT, cause=Cause())


async def test_an_append_under_way_when_the_server_dies_fails_at_once_and_can_be_repeated(
    fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    async with open_pool(postgres_dsn) as pool, open_writer(fresh_nats.url, pool) as log:
        await log.appender.append("a1", {"Email": _state(1)}, at=AT, cause=Cause())
        fresh_nats.pause()
        async with asyncio.TaskGroup() as group:
            append = group.create_task(_outcome(log.appender.append, 2))
            await asyncio.sleep(0)
            fresh_nats.kill()
        assert isinstance(append.result(), LogUnavailableError)

        await asyncio.to_thread(fresh_nats.start)
        await eventually(lambda: log.guard.is_sound, seconds=20)
        await log.appender.append("a1", {"Email": _state(2)}, at=AT, cause=Cause())


async def test_a_connection_outlives_a_pong_that_nobody_waits_for(fresh_nats: NatsServer) -> None:
    """nats-py's own client goes deaf here (facts: a cancelled flush ends its read loop)."""
    async with open_bus(fresh_nats.url, name="test") as bus:
        fresh_nats.pause()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await bus.client.flush()
        fresh_nats.resume()

        received = asyncio.Event()

        async def take(_: object) -> None:
            received.set()

        await bus.client.subscribe("test.deaf", cb=take)
        await bus.publish("test.deaf", b"")
        async with asyncio.timeout(5):
            await received.wait()


async def test_a_connection_that_the_server_ends_with_an_error_comes_back(
    fresh_nats: NatsServer,
) -> None:
    """nats-py's own client closes for good."""
    async with open_bus(fresh_nats.url, name="test") as bus:
        generation = bus.generation
        assert bus.client._transport is not None
        bus.client._transport.write(b"NONSENSE\r\n")

        await eventually(lambda: bus.generation >= generation + 2 and bus.is_connected)
        await bus.publish("test.again", b"")


async def test_what_was_published_while_away_is_not_sent_on_return(fresh_nats: NatsServer) -> None:
    """Its caller was told that it failed, and the log it returns to may be an older one."""
    async with (
        open_bus(fresh_nats.url, name="test") as bus,
        open_bus(fresh_nats.url, name="watch") as watch,
    ):
        got: list[bytes] = []

        async def take(message: object) -> None:
            got.append(message.data)  # type: ignore[attr-defined]

        await watch.client.subscribe("test.late", cb=take)
        generation = bus.generation
        bus.client._pending.append(b"PUB test.late 4\r\nlate\r\n")  # as if not flushed yet
        fresh_nats.kill()
        await asyncio.to_thread(fresh_nats.start)
        await eventually(
            lambda: bus.generation > generation + 1 and bus.is_connected and watch.is_connected,
            seconds=20,
        )
        await bus.publish("test.late", b"now")
        await eventually(lambda: got)

        assert got == [b"now"]


async def _outcome(append: object, order: int) -> object:
    try:
        return await append("a1", {"Email": _state(order)}, at=AT, cause=Cause())  # type: ignore[operator]
    except LogUnavailableError as error:
        return error


async def test_an_append_while_the_stream_is_made_anew_fails_and_may_be_tried_again(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with (
        open_pool(postgres_dsn) as pool,
        open_writer(clean_nats_url, pool) as writer,
        open_bus(clean_nats_url, name="test") as bus,
    ):
        await JetStream(bus).delete_stream(STREAM)
        with pytest.raises(LogUnavailableError, match="stream not found"):
            await writer.appender.append("unknown", {"Email": _state(1)}, at=AT, cause=Cause())
