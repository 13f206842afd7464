"""Accounts, subscriptions, connections, the overview, explanations: looked at and acted upon."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from jsonschema_rs import validator_for

from services.console import explain_routes, overview
from services.console.event_history import EventHistory
from shared.operate.connections import HERE_SUBJECT
from shared.operate.explain.explaining import Resources, explain
from shared.operate.explain.words import Explanation, Question
from shared.store.lane_counts import count_lanes
from tests.integration.services.console.conftest import ORIGIN_AT_ONCE_MAX, Operated
from tests.support.console import OWN_HEADER
from tests.support.eventually import eventually
from tests.support.push_client import SettableClock
from tests.support.webhook_sink import WebhookSink
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration


@pytest.fixture
async def event_source(operated: Operated) -> AsyncIterator[EventSourceClient]:
    """Connected as the operator's own user."""
    client = await EventSourceClient.get(
        operated.running.port,
        "/jmap/eventsource?types=*&closeafter=no&ping=0",
        f"Authorization: Bearer {operated.jmap.token}",
    )
    async with client:
        yield client


async def _connection(operated: Operated) -> Any:
    async def found() -> Any:
        listing = await operated.script.get("/connections", user=operated.name)
        return listing["connections"]

    return (await eventually(found))[0]


async def test_an_account_has_its_states_grants_and_newest_events(operated: Operated) -> None:
    await operated.jmap.add_card(name={"full": "x"})

    async def has_events() -> Any:
        account = await operated.script.get(f"/accounts/{operated.name}")
        return len(account["events"]) >= 2 and account

    account = await eventually(has_events)
    assert account["id"] == operated.account
    assert account == await operated.script.get(f"/accounts/{operated.account}") | {
        "events": account["events"]
    }
    told = [event["changed"] for event in account["events"]]
    assert {"ContactCard": account["states"]["ContactCard"]} in told
    [grant] = account["grants"]
    assert (grant["userName"], grant["role"]) == (operated.name, "owner")


async def test_an_account_is_shown_with_as_many_events_as_are_asked_for(
    operated: Operated, two_cards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del two_cards
    path = f"/accounts/{operated.name}"
    assert len((await operated.script.get(path, events=2))["events"]) == 2
    for count in ("-1", "501", "some"):
        assert (await operated.script.http.get(path, params={"events": count})).status_code == 400

    async def read(*_: Any) -> Any:
        raise AssertionError("the log was read")

    monkeypatch.setattr(EventHistory, "newest", read)
    assert (await operated.script.get(path, events=0))["events"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/nobody",
        "/subscriptions/none",
        "/subscriptions/none/nothing",
        "/connections/nogateway-1",
        "/connections/x",
    ],
)
async def test_what_there_is_not_is_not_found(operated: Operated, path: str) -> None:
    response = await operated.script.http.get(path)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_subscription_is_listed_shown_paused_and_resumed(
    operated: Operated, subscription: str
) -> None:
    async def in_state(state: str) -> bool:
        query = {"user": operated.name, "state": state}
        found = await operated.script.get("/subscriptions", **query)
        return [one["id"] for one in found["subscriptions"]] == [subscription]

    await eventually(lambda: in_state("converged"))
    paused = await operated.page.post(f"/subscriptions/{subscription}/pause")
    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    assert await in_state("paused")
    assert not await in_state("converged")
    shown = await operated.script.get(f"/subscriptions/{subscription}")
    assert shown["origin"].startswith("http://127.0.0.1:")
    assert shown["lastAttempts"]
    resumed = await operated.page.post(f"/subscriptions/{subscription}/resume")
    assert resumed.json()["state"] != "paused"


async def test_a_subscription_is_told_everything_again(
    operated: Operated, subscription: str, sink: WebhookSink
) -> None:
    shown = f"/subscriptions/{subscription}"

    async def is_told() -> bool:
        return bool((await operated.script.get(shown))["state"] == "converged")

    await eventually(is_told)
    count = len(sink.posts_to("/a"))
    for verb in ("probe", "resync"):
        assert (await operated.page.post(f"{shown}/{verb}")).status_code == 200
    await eventually(lambda: len(sink.posts_to("/a")) > count)


async def test_each_action_is_one_line_that_says_who_and_what(
    operated: Operated, subscription: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await operated.page.post(f"/subscriptions/{subscription}/pause")
        await operated.page.post("/subscriptions/none/pause")
    lines = [record for record in caplog.records if record.getMessage() == "console_action"]
    told = [(vars(line)["action"], vars(line)["target"], vars(line)["outcome"]) for line in lines]
    assert told == [
        ("subscription pause", subscription, "done"),
        ("subscription pause", "none", "refused with 404"),
    ]
    session = await operated.page.get("/session")
    assert {vars(line)["credential_id"] for line in lines} == {session["credential"]}
    assert {vars(line)["user_name"] for line in lines} == {operated.name}


async def test_actions_of_a_cookie_need_the_header_of_the_page(
    operated: Operated, subscription: str
) -> None:
    path = f"/subscriptions/{subscription}/pause"
    assert (await operated.page.http.post(path)).status_code == 403
    assert (await operated.script.http.post(path)).status_code == 200


async def test_a_connection_is_listed_shown_and_closed(
    operated: Operated, event_source: EventSourceClient
) -> None:
    connection = await _connection(operated)
    shown = await operated.script.get(f"/connections/{connection['id']}")
    assert shown["userName"] == operated.name
    assert isinstance(shown["moments"], list)
    resynced = await operated.page.post(f"/connections/{connection['id']}/resync")
    assert resynced.json()["count"] == 1
    closed = await operated.page.post(f"/connections/{connection['id']}/close", {"reason": "test"})
    assert closed.json()["connections"] == [connection["id"]]
    ended = await operated.script.get("/connections", user=operated.name, phase="ended")
    assert [one["id"] for one in ended["connections"]] == [connection["id"]]
    again = await operated.page.post(f"/connections/{connection['id']}/close")
    assert again.status_code == 404
    assert event_source


async def test_the_overview_names_a_gateway_that_hangs(operated: Operated) -> None:
    bus = operated.running.everything.bus
    try:
        await bus.publish(HERE_SUBJECT, b"ghung")

        async def is_named() -> bool:
            overview = await operated.script.get("/overview")
            return bool(overview["silent"] == ["ghung"] and len(overview["gateways"]) == 1)

        await eventually(is_named, seconds=20)
    finally:
        await bus.publish(HERE_SUBJECT, b"-ghung")

    async def is_forgotten() -> bool:
        return not (await operated.script.get("/overview"))["silent"]

    await eventually(is_forgotten)


async def test_the_overview_counts_what_there_is(
    operated: Operated, subscription: str, event_source: EventSourceClient
) -> None:
    await _connection(operated)
    overview = await operated.script.get("/overview")
    assert overview["log"]["messages"] > 0
    assert overview["log"]["bytes"] > 0
    assert set(overview["outbox"]) == {"waiting", "oldestSeconds"}
    assert sum(overview["webhooks"]["lanes"].values()) > 0
    [gateway] = overview["gateways"]
    assert gateway["connections"]["sse"] >= 1
    assert subscription
    assert event_source


async def test_those_who_look_at_the_overview_at_once_share_the_count_of_lanes(
    operated: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []

    async def count(pool: Any) -> Any:
        counted.append(pool)
        return await count_lanes(pool)

    everything = operated.running.everything
    monkeypatch.setattr(overview, "count_lanes", count)
    clock = SettableClock()
    overviews = overview.Overviews(everything.pool, everything.bus, clock)
    await asyncio.gather(*(overviews.now() for _ in range(5)))
    assert len(counted) == 1
    clock.seconds += 2
    assert (await overviews.now()).webhooks.lanes
    assert len(counted) == 2


async def test_samples_are_taken_while_somebody_looks(operated: Operated) -> None:
    async def two() -> Any:
        found = await operated.script.get("/samples")
        return len(found["samples"]) > 1 and found

    taken = await eventually(two)
    assert taken["everySeconds"] == 2.0
    assert set(taken["samples"][0]) == {
        *("at", "eventsPerSecond", "connections", "outboxSeconds", "webhookSeconds"),
        "tailSeconds",
    }


async def test_an_explanation_knows_how_much_a_deliverer_sends_to_one_origin(
    operated: Operated, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    async def explained(resources: Resources, question: Question) -> Explanation:
        given.append(resources.origin_at_once_max)
        return await explain(resources, question)

    monkeypatch.setattr(explain_routes, "explain", explained)
    asked = {"account": operated.account, "user": operated.name}
    assert (await operated.script.http.post("/explain", json=asked)).status_code == 200
    assert given == [ORIGIN_AT_ONCE_MAX]


async def test_an_explanation_says_why(operated: Operated, subscription: str) -> None:
    asked = {"account": operated.account, "subscription": subscription}
    explained = await operated.script.http.post("/explain", json=asked)
    assert explained.status_code == 200, explained.text
    [verdict] = explained.json()["verdicts"]
    assert verdict["receiver"]["id"] == subscription
    assert verdict["headline"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 400),
        (b"[]", 400),
        (b"", 400),
        (b'{"event": "1", "user": "\\u0000"}', 400),
        (b'{"event": "1", "account": "a", "user": "u"}', 400),
        (b'{"event": "1", "user": "u", "connection": "c"}', 400),
        (b'{"event": "1", "user": "u", "type": "Email"}', 400),
        (b'{"event": "1", "user": "u", "since": "1h"}', 400),
        (b'{"event": 1, "user": "u"}', 400),
        (b'{"account": "nobody", "user": "nobody"}', 404),
        (b"[" * 20_000, 413),
        (b"[" * 16_000, 400),
        (b"\xff", 400),
    ],
)
async def test_hostile_bodies_are_refused_in_words(
    operated: Operated, body: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    response = await operated.script.http.post("/explain", content=body, headers=headers)
    assert response.status_code == status, response.text
    assert response.json()["detail"]


async def test_a_body_of_another_type_is_refused(operated: Operated) -> None:
    for path in ("/session", "/explain"):
        response = await operated.page.http.post(path, content=b"{}", headers=OWN_HEADER)
        assert response.status_code == 415


async def test_what_is_answered_is_what_the_document_says(
    operated: Operated, subscription: str, event_source: EventSourceClient
) -> None:
    document = await operated.script.get("/openapi.json")
    connection = (await _connection(operated))["id"]
    places = {
        "/session": "/session",
        "/overview": "/overview",
        "/samples": "/samples",
        "/events": "/events",
        "/accounts/{id}": f"/accounts/{operated.account}",
        "/subscriptions": "/subscriptions",
        "/subscriptions/{id}": f"/subscriptions/{subscription}",
        "/connections": "/connections",
        "/connections/{id}": f"/connections/{connection}",
    }
    for path, place in places.items():
        answer = document["paths"][f"/console/api{path}"]["get"]["responses"]["200"]
        schema = answer["content"]["application/json"]["schema"]
        validator_for({**schema, "components": document["components"]}).validate(
            await operated.script.get(place)
        )
    assert event_source


async def test_every_documented_path_needs_a_login(operated: Operated) -> None:
    document = await operated.script.get("/openapi.json")
    stranger = operated.client()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation.get("security") == []:
                continue
            place = path.removeprefix("/console/api").replace("{id}", "x")
            response = await stranger.http.request(method, place, headers=OWN_HEADER)
            assert response.status_code == 401, (method, path)
