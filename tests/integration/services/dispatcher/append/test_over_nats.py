"""`tidings.append` as a NATS request."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from nats.aio.msg import Msg

from shared.bus.connection import Bus, open_bus
from shared.store.credentials import issue_token, revoke_token
from tests.support.appends import RunningAppendApi, append_api_running, change

pytestmark = pytest.mark.integration


@pytest.fixture
async def bus(api: RunningAppendApi) -> AsyncIterator[Bus]:
    async with open_bus(api.nats_url, name="producer") as opened:
        yield opened


async def ask(
    bus: Bus, api: RunningAppendApi, body: Any, *, key: str | None = None, token: str = ""
) -> tuple[Any, dict[str, str]]:
    headers = {"Authorization": f"Bearer {token or api.token}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer: Msg = await bus.client.request("tidings.append", data, timeout=10, headers=headers)
    return json.loads(answer.data), dict(answer.headers or {})


async def test_a_request_is_answered_with_the_cursor(api: RunningAppendApi, bus: Bus) -> None:
    account = await api.account()
    body = change({account: {"Email": "e1"}}, {account: {"Email": 1}})
    answer, headers = await ask(bus, api, body)
    assert list(answer) == ["cursor"]
    assert "Nats-Service-Error-Code" not in headers
    assert headers["X-Request-Id"]
    assert answer["cursor"] == await api.append({account: {"Email": "e1"}}, {account: {"Email": 1}})
    assert await api.states(account) == {"Email": "e1"}


async def test_a_key_is_the_same_over_http_and_nats(api: RunningAppendApi, bus: Bus) -> None:
    account = await api.account()
    body = json.dumps(change({account: {"Email": "e1"}})).encode()
    response = await api.post(body, key="k1")
    answer, _ = await ask(bus, api, body, key="k1")
    assert answer == response.json()
    assert len(await api.events(account)) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (change({"anobody": {"Email": "e"}}), 404),
        (change({"a1": {"ContactCard": "e"}}), 403),
    ],
)
async def test_an_error_has_problem_details_and_the_headers_of_a_service(
    api: RunningAppendApi, bus: Bus, body: Any, status: int
) -> None:
    answer, headers = await ask(bus, api, body)
    assert answer["status"] == status
    assert headers["Nats-Service-Error-Code"] == str(status)
    assert headers["Nats-Service-Error"] == answer["detail"]


async def test_what_an_error_quotes_of_a_request_is_cut(api: RunningAppendApi, bus: Bus) -> None:
    """Else a header, and the answer, could be larger than NATS carries."""
    answer, headers = await ask(bus, api, {"@type": "StateChange", "x" * 900_000: 1})
    assert answer["status"] == 400
    assert len(answer["detail"]) == 500
    assert headers["Nats-Service-Error"] == answer["detail"]


async def test_the_token_is_looked_at(api: RunningAppendApi, bus: Bus) -> None:
    name = await api.pool.fetchval("SELECT name FROM users")
    token_id, token = await issue_token(api.pool, name, ["append"])
    _, other = await issue_token(api.pool, name, ["jmap"])
    account = await api.account()
    body = change({account: {"Email": "e1"}})
    assert "cursor" in (await ask(bus, api, body, token=token))[0]
    assert (await ask(bus, api, body, token=other))[0]["status"] == 403
    assert (await ask(bus, api, body, token="wrong"))[0]["status"] == 401
    answer = await bus.client.request("tidings.append", json.dumps(body).encode(), timeout=10)
    assert json.loads(answer.data)["status"] == 401
    await revoke_token(api.pool, token_id)
    await asyncio.sleep(2.1)  # what a dispatcher may remember of a token
    assert (await ask(bus, api, body, token=token))[0]["status"] == 401


async def test_who_wants_no_answer_is_not_served(api: RunningAppendApi, bus: Bus) -> None:
    account = await api.account()
    headers = {"Authorization": f"Bearer {api.token}"}
    body = json.dumps(change({account: {"Email": "unanswered"}})).encode()
    await bus.publish("tidings.append", body, headers=headers)
    answer, _ = await ask(bus, api, change({account: {"Email": "e1"}}))
    assert "cursor" in answer
    assert [stored.event.changed["Email"].state for stored in await api.events(account)] == ["e1"]


async def test_dispatchers_share_the_requests(
    api: RunningAppendApi, bus: Bus, clean_nats_url: str, postgres_dsn: str
) -> None:
    accounts = [await api.account() for _ in range(60)]
    async with append_api_running(clean_nats_url, postgres_dsn) as other:
        answers = await asyncio.gather(
            *(ask(bus, api, change({account: {"Email": "e1"}})) for account in accounts)
        )
        counted = 'append_requests_total{outcome="appended"}'
        assert all(counted in side.metrics.text().decode() for side in (api, other))
    assert all("cursor" in answer for answer, _ in answers)
    rows = await api.pool.fetch("SELECT ord FROM type_states WHERE type = 'Email'")
    assert [row["ord"] for row in rows] == [1] * 60
