"""How many may look and replay at once, and how much waits for one who looks."""

import asyncio
from secrets import token_hex
from typing import Any

import pytest

from services.console.settings import ConsoleSettings
from shared.log.event import Event, OrderedState, encode_event
from shared.log.subjects import subject_of
from shared.store.credentials import issue_token
from shared.store.people import add_user
from tests.integration.services.console.conftest import Operated
from tests.support.console import streaming
from tests.support.eventually import PATIENCE

pytestmark = pytest.mark.integration

_BURST = 20
_BURSTING = Event(
    changed={"Burst": OrderedState("s1", 1)}, unchanged={}, at="2026-01-01T00:00:00.000Z"
)


@pytest.fixture(scope="module")
def settings() -> ConsoleSettings:
    return ConsoleSettings(behind_proxy=True, viewers_max=1, viewer_events_max=1, replays_max=1)


async def test_one_viewer_too_many_is_told_when_to_come_back(operated: Operated) -> None:
    async with streaming(operated.page):
        refused = await operated.script.http.get("/events/stream")
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.json()["detail"] == "Too many people look at once."


async def test_a_viewer_is_told_how_many_events_it_was_not_shown(operated: Operated) -> None:
    """Not by way of mutations: what waits of an account becomes one event of the log."""
    bus = operated.running.everything.bus
    made, shown, dropped = 0, 0, 0
    async with streaming(operated.page, type="Burst") as messages:
        while not dropped:
            for _ in range(_BURST):
                await bus.publish(subject_of(f"b{token_hex(8)}"), encode_event(_BURSTING))
            made += _BURST
            async with asyncio.timeout(10 * PATIENCE):
                while shown + dropped < made:
                    kind, data = await anext(messages)
                    shown += kind == "event"
                    dropped += data["count"] if kind == "dropped" else 0
    assert shown + dropped == made


async def test_one_replay_too_many_is_told_when_to_come_back(
    operated: Operated, slow_replay: dict[str, Any]
) -> None:
    await add_user(operated.running.everything.pool, "grace")
    _, token = await issue_token(operated.running.everything.pool, "grace", scopes=["operate"])
    grace = operated.client(token)
    async with grace.http.stream("POST", "/replays", json=slow_replay) as going_on:
        assert "sent" in await anext(going_on.aiter_lines())
        refused = await operated.page.post("/replays", slow_replay)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
