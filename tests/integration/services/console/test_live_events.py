"""The one tail of the log behind all viewers, at the moments between two of its lives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.console import live_events
from services.console.account_names import AccountNames
from services.console.live_events import LiveEvents
from shared.bus.connection import open_bus
from shared.log.event_filter import EventFilter
from shared.log.history import History, open_history
from shared.runtime.clock import SystemClock
from tests.integration.services.console.conftest import Operated
from tests.support.eventually import PATIENCE, eventually

pytestmark = pytest.mark.integration


async def test_who_comes_while_the_tail_ends_misses_nothing(
    operated: Operated, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told that the log is followed, and then the last viewer's linger was over."""
    closing, may_close = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slow_to_close(*asked: Any, **how: Any) -> AsyncIterator[History]:
        async with open_history(*asked, **how) as history:
            yield history
            closing.set()
            await may_close.wait()

    monkeypatch.setattr(live_events, "open_history", slow_to_close)
    monkeypatch.setattr(live_events, "_LINGER_SECONDS", 0.0)
    names = AccountNames(operated.running.everything.pool, SystemClock())
    async with open_bus(nats_url, name="live") as bus, asyncio.TaskGroup() as tasks:
        live = LiveEvents(bus, names, viewers_max=2, waiting_max=100)
        running = tasks.create_task(live.run())
        await live.started()
        await closing.wait()
        assert not live.is_live
        of_account = EventFilter(account_ids=frozenset({operated.account}))
        with live.viewing(of_account) as viewer:
            place = live.place
            await operated.jmap.add_card(name={"full": "x"})

            async def in_log() -> Any:
                found = await operated.script.get("/events", account=operated.account)
                return found["events"][0]["sequence"] > place.sequence and found["events"]

            [newest, *_] = await eventually(in_log)
            may_close.set()
            told: list[int] = []
            async with asyncio.timeout(10 * PATIENCE):
                while newest["sequence"] not in told:
                    told += [sequence for sequence, _ in (await viewer.take(1))[0]]
        running.cancel()
