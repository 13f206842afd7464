"""One line of the log for each request and each attempt, with what an operator asks for."""

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.push_subscriptions import subscribe
from tests.support.webhook_sink import Behaviour, WebhookSink, webhook_sink

pytestmark = pytest.mark.integration

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-00"
SECRET = "a-secret-that-no-line-has"


@pytest.fixture(scope="module")
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


@pytest.fixture
async def running(clean_nats_url: str, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    async with everything_running(clean_nats_url, postgres_dsn) as everything:
        yield everything


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.message == event]


async def test_each_request_has_one_line_with_who_asked_what_and_how_it_went(
    running: RunningEverything, caplog: pytest.LogCaptureFixture
) -> None:
    client, token_id = await running.user("ada")
    calls = [["Core/echo", {"secret": SECRET}, "0"], ["Foo/get", {}, "1"]]
    calls.append(["ContactCard/get", {"accountId": "none"}, "2"])
    body = {"using": list(client.using), "methodCalls": calls}
    with caplog.at_level(logging.INFO):
        response = await client.http.post(
            "/jmap/api", json=body, headers={"traceparent": TRACEPARENT}
        )
        await client.http.get("/health/live")
        await client.http.get("/health/ready")
        await client.http.get("/metrics")
    [line] = lines(caplog, "request")
    assert (line["transport"], line["http_method"], line["route"]) == ("http", "POST", "/jmap/api")
    assert line["status"] == 200
    assert 0 < line["milliseconds"] < 10_000
    assert line["credential_id"] == token_id
    assert line["user_id"].startswith("u")
    assert line["trace_id"] == TRACE_ID
    assert line["calls"] == [
        "Core/echo",
        "unknown unknownMethod",
        "ContactCard/get accountNotFound",
    ]
    assert line["octets_in"] == len(response.request.content)
    assert line["octets_out"] == len(response.content)
    assert SECRET not in str(caplog.records)
    assert client.token not in str([vars(record) for record in caplog.records])


@pytest.mark.parametrize(
    ("path", "status"), [("/jmap/api", 401), ("/jmap/eventsource", 401), ("/jmap/ticket", 401)]
)
async def test_who_is_refused_has_a_line_without_the_token(
    running: RunningEverything, caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    client, _ = await running.user("eve")
    method = "GET" if path == "/jmap/eventsource" else "POST"
    with caplog.at_level(logging.INFO):
        response = await client.http.request(
            method, f"{path}?ticket={SECRET}", headers={"Authorization": f"Bearer {SECRET}"}
        )
    assert response.status_code == status
    [line] = lines(caplog, "request")
    assert (line["route"], line["status"], line["http_method"]) == (path, status, method)
    assert "user_id" not in line
    assert SECRET not in str(line)


async def test_a_ticket_that_was_given_has_a_line(
    running: RunningEverything, caplog: pytest.LogCaptureFixture
) -> None:
    client, token_id = await running.user("eve")
    with caplog.at_level(logging.INFO):
        ticket = (await client.http.post("/jmap/ticket")).json()["ticket"]
    [line] = lines(caplog, "request")
    assert (line["route"], line["credential_id"]) == ("/jmap/ticket", token_id)
    assert ticket not in str(line)


async def test_each_attempt_has_one_line_that_does_not_say_where(
    running: RunningEverything, sink: WebhookSink, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = await running.user("ada")
    path = f"/{SECRET}"
    with caplog.at_level(logging.INFO):
        created = await subscribe(client, url=sink.url(path))
        await eventually(lambda: bool(lines(caplog, "webhook_attempt")))
        sink.behave(path, Behaviour(status=500), Behaviour(status=200))
        await client.http.post(
            "/jmap/api",
            json={
                "using": list(client.using),
                "methodCalls": [
                    ["AddressBook/set", {"accountId": client.account_id, "create": BOOK}, "0"]
                ],
            },
            headers={"traceparent": TRACEPARENT},
        )

        def ends_well() -> bool:
            last = lines(caplog, "webhook_attempt")[-1]
            return (last["outcome"], last["trace_id"]) == ("accepted", TRACE_ID)

        await eventually(ends_well)
    verification, *pushes = lines(caplog, "webhook_attempt")
    assert (verification["kind"], verification["outcome"]) == ("verification", "accepted")
    assert {line["subscription"] for line in (verification, *pushes)} == {created["id"]}
    [failed] = [line for line in pushes if line["outcome"] == "server_error"]
    assert (failed["kind"], failed["status"], failed["failures"]) == ("push", 500, 1)
    assert failed["retry_at"].endswith("Z")
    last = pushes[-1]
    assert (last["status"], last["failures"], last["retry_at"]) == (200, 0, None)
    assert last["milliseconds"] >= 0
    assert last["sequence"] > 0
    assert SECRET not in str([vars(record) for record in caplog.records])


BOOK = {"k": {"name": "Another"}}
