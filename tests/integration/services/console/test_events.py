"""The history of the log, and events as they come."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.bus.control import ControlMessage
from shared.store.credentials import revoke_token
from tests.integration.services.console.conftest import Operated
from tests.support.console import streaming
from tests.support.eventually import PATIENCE, eventually

pytestmark = pytest.mark.integration


async def _next(messages: AsyncIterator[tuple[str, Any]], kind: str = "event") -> Any:
    async with asyncio.timeout(10 * PATIENCE):
        async for found, data in messages:
            if found == kind:
                return data
    raise AssertionError(f"the stream ended without {kind}")


async def _cards(operated: Operated, count: int) -> list[Any]:
    """Makes them, and returns all events, newest first."""
    client, get = operated.jmap, operated.script.get
    before = len((await get("/events", account=operated.account))["events"])
    for number in range(count):
        await client.add_card(name={"full": f"card {number}"})

    async def listed() -> Any:
        found = (await get("/events", account=operated.account, limit=500))["events"]
        return len(found) >= before + count and found

    return list(await eventually(listed))


async def test_the_newest_events_come_first_page_after_page(operated: Operated) -> None:
    [*everything, first] = await _cards(operated, 8)
    sequences = [event["sequence"] for event in everything]
    assert sequences == sorted(sequences, reverse=True)
    pages = []
    query: dict[str, str] = {"after": first["cursor"]}
    while True:
        page = await operated.script.get("/events", limit=3, **query)
        pages.append(page["events"])
        if page["next"] is None:
            break
        query["before"] = page["next"]
    assert [event for page in pages for event in page] == everything
    assert max(len(page) for page in pages) == 3


async def test_an_event_is_what_the_command_line_prints_with_the_name_of_its_account(
    operated: Operated,
) -> None:
    newest = (await _cards(operated, 1))[0]
    assert newest["account"] == operated.account
    assert newest["accountName"] == operated.name
    assert newest["cause"]["method"] == "ContactCard/set"
    assert set(newest["changed"]) == {"ContactCard"}


async def test_filters_must_all_hold(operated: Operated) -> None:
    events = await _cards(operated, 2)
    name = operated.name

    async def found(**query: Any) -> Any:
        return (await operated.script.get("/events", **query))["events"]

    assert await found(account=name, type="ContactCard") == events[:2]
    assert await found(account=name, type=["ContactCard", "AddressBook"]) == events
    assert await found(account=name) == events
    assert await found(principal=name, type="ContactCard") == events[:2]
    assert await found(method="Email/set") == []
    of_all = await found(since="1h", until="2100-01-01", limit=500)
    assert [event for event in of_all if event["account"] == operated.account] == events
    assert await found(since="2100-01-01") == []
    assert await found(until="2000-01-01") == []
    after = await found(after=events[1]["cursor"])  # others' events may come late
    assert [event for event in after if event["account"] == operated.account] == events[:1]
    assert (await found(before=events[1]["cursor"]))[0]["sequence"] < events[1]["sequence"]
    page = await operated.script.get("/events", account=name, limit=1)
    assert page["next"] == events[0]["cursor"]


async def test_nothing_came_before_the_first_cursor(operated: Operated) -> None:
    [newest, *_] = await _cards(operated, 1)
    epoch = newest["cursor"].rpartition(".")[0]
    found = await operated.script.get("/events", before=f"{epoch}.0")
    assert found == {"events": [], "next": None}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": "0"}, 400),
        ({"limit": "501"}, 400),
        ({"limit": "٣"}, 400),
        ({"since": "yesterday"}, 400),
        ({"since": "0001-01-01"}, 200),
        ({"until": "9999-12-31T23:59:59Z"}, 200),
        ({"since": "9999-12-31T23:59:59Z"}, 200),
        ({"before": "1.x.5"}, 400),
        ({"after": "junk"}, 400),
        ({"account": "nobody"}, 404),
        ({"account": "a\0b"}, 400),
        ({"account": "a" * 301}, 400),
        ({"type": ["t"] * 51}, 400),
        ({"since": ["1h", "2h"]}, 400),
        ({"nonsense": "1"}, 400),
    ],
)
async def test_hostile_queries_are_refused_in_words(
    operated: Operated, query: dict[str, Any], status: int
) -> None:
    response = await operated.script.http.get("/events", params=query)
    assert response.status_code == status
    if status != 200:
        assert response.json()["detail"]


async def test_a_viewer_is_told_events_as_they_come(operated: Operated) -> None:
    async with (
        streaming(operated.page, account=operated.account) as all_events,
        streaming(operated.page, type="AddressBook", method="AddressBook/set") as address_books,
    ):
        [newest, *_] = await _cards(operated, 1)
        assert await _next(all_events) == newest
        await operated.jmap.call("AddressBook/set", create={"b": {"name": "Friends"}})
        assert set((await _next(address_books))["changed"]) == {"AddressBook"}


async def test_a_viewer_that_comes_back_is_told_what_it_missed(operated: Operated) -> None:
    events = await _cards(operated, 3)
    async with streaming(
        operated.page, last_event_id=events[2]["cursor"], account=operated.name
    ) as messages:
        assert await _next(messages) == events[1]
        assert await _next(messages) == events[0]
        newest = (await _cards(operated, 1))[0]
        assert await _next(messages) == newest


async def test_a_viewer_of_a_log_that_is_gone_is_told_that_nobody_counts(
    operated: Operated,
) -> None:
    async with streaming(operated.page, last_event_id="1.gone.5") as messages:
        assert await _next(messages, "dropped") == {"count": None}


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_revoked_token_ends_the_stream(operated: Operated, *, is_told: bool) -> None:
    token_id, token = await operated.token_of("operate")
    async with streaming(operated.client(token)) as messages:
        await revoke_token(operated.running.everything.pool, token_id)
        if is_told:
            await operated.running.tell(ControlMessage(revoked=token_id))
        assert await _next(messages, "ended") == {"reason": "loggedOut"}
