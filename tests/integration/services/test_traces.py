"""One trace from the request over the event to the push, on every way in and every way out."""

import json
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from services.dispatcher.append.documents import SUBJECT
from shared.bus.jetstream import JetStream
from shared.log.event import StoredEvent
from shared.log.stored import stored_event
from shared.log.subjects import STREAM, subject_of
from shared.runtime.trace_context import parse_traceparent
from shared.runtime.traces import Span, Traces
from shared.store.credentials import issue_token
from tests.support.dispatcher import USING, JmapClient
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.push_subscriptions import subscribe
from tests.support.webhook_sink import WebhookSink, webhook_sink
from tests.support.websocket import WebSocketClient
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01"
STREAM_PATH = "/jmap/eventsource?types=*&closeafter=no&ping=0"


@pytest.fixture(scope="module")
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


@pytest.fixture
def spans() -> list[Span]:
    return []


@pytest.fixture
async def running(
    clean_nats_url: str, postgres_dsn: str, spans: list[Span]
) -> AsyncIterator[RunningEverything]:
    traces = Traces(spans.append)
    async with everything_running(clean_nats_url, postgres_dsn, traces=traces) as everything:
        yield everything


async def event_of_card(running: RunningEverything, client: JmapClient) -> StoredEvent:
    """Which the log has soon after the response."""
    subject = subject_of(client.account_id)
    found: list[StoredEvent] = []

    async def is_there() -> bool:
        message = await JetStream(running.everything.bus).last_message(STREAM, subject)
        if message is not None:
            found[:] = [stored_event(subject, message.sequence, message.body)]
        return bool(found) and "ContactCard" in found[0].event.changed

    await eventually(is_there)
    return found[0]


async def request_for_a_card(client: JmapClient) -> dict[str, Any]:
    create = {"k": {"addressBookIds": {await client.address_book(): True}}}
    arguments = {"accountId": client.account_id, "create": create}
    return {"using": list(USING), "methodCalls": [["ContactCard/set", arguments, "0"]]}


async def add_card(client: JmapClient, traceparent: str) -> None:
    response = await client.http.post(
        "/jmap/api",
        json=await request_for_a_card(client),
        headers={"traceparent": traceparent, "tracestate": "vendor=secret"},
    )
    assert response.json()["methodResponses"][0][1]["created"]


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == event]


async def test_one_trace_goes_from_the_request_over_the_event_to_stream_and_webhook(
    running: RunningEverything,
    sink: WebhookSink,
    spans: list[Span],
    caplog: pytest.LogCaptureFixture,
) -> None:
    client, _ = await running.user("ada")
    await subscribe(client, url=sink.url("/clear"))
    await subscribe(client, url=sink.url("/sealed"), keys=sink.subscribe("/sealed").keys)
    is_verified = "SELECT count(*) = 2 FROM push_subscriptions WHERE verified_at IS NOT NULL"
    await eventually(lambda: running.everything.pool.fetchval(is_verified))
    authorization = f"Authorization: Bearer {client.token}"
    with caplog.at_level(logging.INFO):
        async with await EventSourceClient.get(running.port, STREAM_PATH, authorization) as stream:
            await add_card(client, SAMPLED)
            await stream.state()
            await eventually(lambda: sum(span.name == "webhook" for span in spans) == 2)

    assert {span.context.trace_id for span in spans} == {TRACE_ID}
    named = {span.name: span.context for span in spans}
    request, method = named.pop("POST /jmap/api"), named.pop("ContactCard/set")
    assert (request.parent_id, method.parent_id) == (SPAN_ID, request.span_id)
    assert set(named) == {"append", "push", "webhook"}
    assert {context.parent_id for context in named.values()} == {method.span_id}
    stored = await event_of_card(running, client)
    assert stored.event.cause.traceparent == method.traceparent

    told = [post for post in sink.posts if b'"StateChange"' in post.content]
    assert {post.path for post in told} == {"/clear", "/sealed"}
    sent = {post.path: post.headers.get("traceparent") for post in told}
    assert sent["/clear"] in [s.context.traceparent for s in spans if s.name == "webhook"]
    assert sent["/sealed"] is None  # a push service learns nothing from it
    assert not any("tracestate" in post.headers for post in told)

    [push] = lines(caplog, "push")
    assert (push["trace_id"], push["sequence"], push["listeners"]) == (TRACE_ID, stored.sequence, 1)


async def test_an_unsampled_trace_goes_the_same_way_and_costs_no_spans(
    running: RunningEverything, sink: WebhookSink, spans: list[Span]
) -> None:
    client, _ = await running.user("ben")
    path = f"/{secrets.token_hex(4)}"
    await subscribe(client, url=sink.url(path))
    await eventually(lambda: bool(sink.posts_to(path)))
    await add_card(client, SAMPLED[:-2] + "00")

    def traces_told() -> set[str | None]:
        return {post.headers.get("traceparent", "")[3:35] for post in sink.posts_to(path)}

    await eventually(lambda: TRACE_ID in traces_told())
    cause = (await event_of_card(running, client)).event.cause
    context = parse_traceparent(cause.traceparent)
    assert context is not None
    assert (context.trace_id, context.is_sampled) == (TRACE_ID, False)
    assert not spans


@pytest.mark.parametrize("header", ["garbage", f"ff{SAMPLED[2:]}", f"00-{'0' * 32}-{SPAN_ID}-01"])
async def test_what_is_no_traceparent_begins_a_trace(
    running: RunningEverything, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = await running.user("eve")
    with caplog.at_level(logging.INFO):
        await add_card(client, header)
    context = parse_traceparent((await event_of_card(running, client)).event.cause.traceparent)
    assert context is not None
    assert context.trace_id != TRACE_ID
    assert lines(caplog, "request")[-1]["trace_id"] == context.trace_id


async def test_several_traceparents_are_none(
    running: RunningEverything, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = await running.user("eve")
    headers = [("traceparent", SAMPLED), ("traceparent", SAMPLED)]
    with caplog.at_level(logging.INFO):
        await client.http.get("/jmap/session", headers=headers)
    [line] = lines(caplog, "request")
    assert line["trace_id"] != TRACE_ID


async def test_a_request_over_a_websocket_has_a_trace_of_its_own(
    running: RunningEverything, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = await running.user("sam")
    request = await request_for_a_card(client)
    authorization = f"Authorization: Bearer {client.token}"
    with caplog.at_level(logging.INFO):
        async with await WebSocketClient.connect(running.port, authorization) as socket:
            socket.send({"@type": "Request", "id": "r", **request})
            assert (await socket.message())["methodResponses"][0][1]["created"]
    cause = (await event_of_card(running, client)).event.cause
    context = parse_traceparent(cause.traceparent)
    [line] = [line for line in lines(caplog, "request") if line["transport"] == "websocket"]
    assert context is not None
    assert line["trace_id"] == context.trace_id
    assert line["calls"] == ["ContactCard/set"]


@pytest.mark.parametrize("way", ["http", "nats"])
async def test_an_append_tells_its_trace_to_the_event(
    running: RunningEverything, spans: list[Span], way: str
) -> None:
    client, _ = await running.user("tom")
    _, token = await issue_token(running.everything.pool, "tom", scopes=["append"])
    headers = {"Authorization": f"Bearer {token}", "traceparent": SAMPLED}
    body = {"@type": "StateChange", "changed": {client.account_id: {"Email": "s1"}}}
    if way == "http":
        response = await client.http.post("/tidings/append", json=body, headers=headers)
        assert response.status_code == 200, response.text
    else:
        nats = running.everything.bus.client
        await nats.request(SUBJECT, _json(body), timeout=10, headers=headers)
    await eventually(lambda: {"append"} <= {span.name for span in spans})
    assert {span.context.trace_id for span in spans} == {TRACE_ID}


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
