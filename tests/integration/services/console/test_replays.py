"""A part of the log, sent again by an operator of the console."""

import asyncio
import json
import logging
from typing import Any

import pytest

from shared.runtime.logs import JsonFormatter
from shared.store.credentials import revoke_token
from tests.integration.services.console.conftest import Operated
from tests.support.console import OWN_HEADER
from tests.support.eventually import PATIENCE, eventually
from tests.support.webhook_sink import WebhookSink

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("two_cards")]


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


async def test_each_replay_is_in_the_log_also_a_refused_one_with_its_request(
    operated: Operated, subscription: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"subscription": subscription, "account": operated.name, "dryRun": True}
    formatter = JsonFormatter()
    lines: list[Any] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(formatter.format(record)))

    log = logging.getLogger("services.console.endpoints")
    handler = Lines()
    log.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO):
            done = await operated.page.post("/replays", asked)
            refused = await operated.page.post("/replays", {**asked, "speed": "fast"})
    finally:
        log.removeHandler(handler)
    told = [line for line in lines if line["event"] == "console_action"]
    ids = [response.headers["x-request-id"] for response in (done, done, refused)]
    assert [line["request_id"] for line in told] == ids
    assert {line["target"] for line in told} == {subscription}
    begun, ended, not_begun = told
    assert begun["outcome"].startswith("begun behind ")
    assert ended["outcome"].endswith(": done")
    assert (not_begun["action"], not_begun["outcome"]) == ("replay", "refused with 400")


async def test_one_replay_at_a_time_which_ends_with_the_credential(
    operated: Operated, slow_replay: dict[str, Any]
) -> None:
    token_id, token = await operated.token_of("operate")
    client = operated.client(token)
    async with client.http.stream(
        "POST", "/replays", json=slow_replay, headers=OWN_HEADER
    ) as response:
        lines = response.aiter_lines()
        assert "sent" in await anext(lines)
        busy = await operated.page.post("/replays", slow_replay)
        assert busy.status_code == 409
        await revoke_token(operated.running.everything.pool, token_id)
        async with asyncio.timeout(10 * PATIENCE):
            rest = [json.loads(line) async for line in lines]
    assert rest[-1]["error"] == "ended before its end"


async def test_a_replay_ends_when_the_asker_goes(
    operated: Operated, slow_replay: dict[str, Any]
) -> None:
    client = operated.client(operated.token)
    async with client.http.stream("POST", "/replays", json=slow_replay) as response:
        await anext(response.aiter_lines())

    async def is_free() -> bool:
        dry = {**slow_replay, "dryRun": True}
        return (await operated.page.post("/replays", dry)).status_code == 200

    await eventually(is_free)
