"""Replays to test clients while the database goes away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from services.cli.replay_listener import PATH, Offer, ReplayListener
from shared.bus.connection import open_bus
from shared.bus.jetstream import JetStream
from shared.http.authentication import Authenticator
from shared.log.cursor import Cursor
from shared.log.event_filter import EventFilter
from shared.log.history import LogEnd, Range, read_log_end
from shared.log.subjects import STREAM
from shared.operate.event_range import EventRange
from shared.store.pool import open_pool
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.push_client import SettableClock
from tests.support.servers import Databases

pytestmark = pytest.mark.integration


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    with databases.fresh() as dsn:
        yield dsn


@pytest.fixture
async def running(nats_url: str, database: str) -> AsyncIterator[RunningEverything]:
    async with open_bus(nats_url, name="clean") as bus:
        await JetStream(bus).delete_stream(STREAM)
    async with everything_running(nats_url, database) as running:
        yield running


async def test_a_client_may_come_back_when_the_database_does(
    running: RunningEverything, nats_url: str, database: str
) -> None:
    ada, _ = await running.user("ada")
    await ada.add_card(name={"full": "x"})

    async def logged() -> LogEnd | None:
        end = await read_log_end(JetStream(running.everything.bus))
        return end if end.sequence >= 2 else None

    end = await eventually(logged)
    assert end is not None
    clock, told = SettableClock(), list[Any]()
    wanted = EventRange(Range(before=end.sequence + 1), EventFilter())
    offer = Offer(nats_url, wanted, Cursor(end.epoch, end.sequence), None)
    async with open_pool(database, connections_max=1) as pool:
        listener = ReplayListener(
            pool, offer, Authenticator(pool, clock=clock), clock, draining=asyncio.Event()
        )

        async def send(message: Any) -> None:
            told.append(message)
            if b"event: state" in message.get("body", b""):  # the next is looked at anew
                clock.seconds += 60
                pool.terminate()

        scope = {
            "type": "http",
            "path": PATH,
            "method": "GET",
            "headers": [(b"authorization", f"Bearer {ada.token}".encode())],
            "query_string": b"types=*&closeafter=no&ping=0",
        }
        await listener(scope, _receive, send)
        assert told[0]["status"] == 200
        assert sum(b"event: state" in message.get("body", b"") for message in told) == 1
        assert told[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        told.clear()
        await listener(scope, _receive, send)
        assert told[0]["status"] == 503


async def _receive() -> Any:
    await asyncio.Event().wait()
