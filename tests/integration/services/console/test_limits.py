"""How many may look and replay at once, and how much waits for one who looks."""

import asyncio
from typing import Any

import pytest

from services.console.settings import ConsoleSettings
from shared.store.credentials import issue_token
from shared.store.people import add_user
from tests.integration.services.console.conftest import Operated
from tests.support.console import streaming
from tests.support.eventually import PATIENCE, eventually

pytestmark = pytest.mark.integration


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
    async def has_address_book() -> bool:
        return bool((await operated.script.get("/events", account=operated.account))["events"])

    await eventually(has_address_book)
    made, shown, dropped = 0, 0, 0
    async with streaming(operated.page, account=operated.account) as messages:
        while not dropped:
            cards = [operated.jmap.add_card(name={"full": name}) for name in "abcd"]
            await asyncio.gather(*cards)
            made += len(cards)
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
