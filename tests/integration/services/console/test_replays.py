"""A part of the log, sent again by an operator of the console."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from shared.store.credentials import revoke_token
from tests.integration.services.console.conftest import Operated
from tests.support.console import OWN_HEADER
from tests.support.eventually import PATIENCE, eventually
from tests.support.push_subscriptions import endpoint_of, subscribe, update
from tests.support.webhook_sink import WebhookSink, webhook_sink

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


@pytest.fixture
async def subscription(operated: Operated, sink: WebhookSink) -> str:
    """Verified, and in the log are three events of its user, two of them of cards."""
    subscription_id = str((await subscribe(operated.jmap, url=sink.url("/a")))["id"])
    endpoint = await endpoint_of(operated.running.everything.pool, subscription_id)
    await update(operated.jmap, subscription_id, verificationCode=endpoint.code)
    for name in ("x", "y"):
        await operated.jmap.add_card(name={"full": name})

    async def are_there() -> bool:
        found = await operated.script.get("/events", account=operated.account)
        return len(found["events"]) == 3

    await eventually(are_there)
    return subscription_id


def _slow(operated: Operated, subscription: str) -> dict[str, Any]:
    """Waits for minutes between the first card and the second."""
    types = ["ContactCard"]
    about = {"subscription": subscription, "account": operated.name, "types": types}
    return {**about, "speed": "0.00001"}


async def _lines(operated: Operated, **asked: Any) -> list[Any]:
    response = await operated.page.post("/replays", asked)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


async def test_a_dry_run_counts_and_sends_nothing(
    operated: Operated, subscription: str, sink: WebhookSink
) -> None:
    lines = await _lines(
        operated, subscription=subscription, account=operated.name, dryRun=True, speed="original"
    )
    assert lines[-1]["done"] is True
    assert lines[-1]["sent"] == 3
    assert not [post for post in sink.posts if post.headers.get("tidings-replay")]


async def test_events_are_sent_again_and_counted(
    operated: Operated, subscription: str, sink: WebhookSink
) -> None:
    last = (await _lines(operated, subscription=subscription, account=operated.name))[-1]
    assert (last["sent"], last["done"]) == (3, True)
    assert len([post for post in sink.posts if post.headers.get("tidings-replay")]) == 3
    rest = await _lines(
        operated, subscription=subscription, account=operated.name, after=last["cursor"]
    )
    assert rest[-1]["sent"] == 0


async def test_what_cannot_be_replayed_says_why(operated: Operated, subscription: str) -> None:
    assert "no push subscription" in (await _lines(operated, subscription="none"))[-1]["error"]
    for asked, status in (
        ({}, 400),
        ({"subscription": subscription, "speed": "fast"}, 400),
        ({"subscription": subscription, "account": "nobody"}, 404),
        ({"subscription": subscription, "types": ["a"] * 51}, 400),
        ({"subscription": "a\0"}, 400),
    ):
        response = await operated.page.post("/replays", asked)
        assert response.status_code == status, asked
    refused = await operated.page.http.post("/replays", json={"subscription": subscription})
    assert refused.status_code == 403


async def test_one_replay_at_a_time_which_ends_with_the_credential(
    operated: Operated, subscription: str
) -> None:
    token_id, token = await operated.token_of("operate")
    slow = _slow(operated, subscription)
    client = operated.client(token)
    async with client.http.stream("POST", "/replays", json=slow, headers=OWN_HEADER) as response:
        lines = response.aiter_lines()
        assert "sent" in await anext(lines)
        busy = await operated.page.post("/replays", slow)
        assert busy.status_code == 409
        await revoke_token(operated.running.everything.pool, token_id)
        async with asyncio.timeout(10 * PATIENCE):
            rest = [json.loads(line) async for line in lines]
    assert rest[-1]["error"] == "ended before its end"


async def test_a_replay_ends_when_the_asker_goes(operated: Operated, subscription: str) -> None:
    slow = _slow(operated, subscription)
    client = operated.client(operated.token)
    async with client.http.stream("POST", "/replays", json=slow) as response:
        await anext(response.aiter_lines())

    async def is_free() -> bool:
        dry = {**slow, "dryRun": True}
        return (await operated.page.post("/replays", dry)).status_code == 200

    await eventually(is_free)
