"""The Python client of the append API, against a real one that comes and goes."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from shared.client.append import AppendClient, AppendRefusedError, AppendUnknownError
from tests.support.appends import RunningAppendApi, append_api_running
from tests.support.eventually import eventually
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration


@pytest.fixture
async def api(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[RunningAppendApi]:
    async with append_api_running(fresh_nats.url, postgres_dsn) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as opened:
        yield opened


async def test_it_returns_the_cursor_and_who_was_not_appended(
    api: RunningAppendApi, http: httpx.AsyncClient
) -> None:
    client = AppendClient(api.url, api.token, http=http)
    account = await api.account()
    first = await client.append({account: {"Email": "e1"}}, {account: {"Email": 1}})
    again = await client.append({account: {"Email": "e1"}}, {account: {"Email": 1}})
    assert first.cursor == again.cursor
    assert first.not_appended == {}
    mixed = await client.append({account: {"Email": "e2"}, "anobody": {"Email": "e2"}})
    assert mixed.not_appended["anobody"]["type"] == "accountNotFound"


async def test_it_gives_up_at_once_where_asking_again_would_not_help(
    api: RunningAppendApi, http: httpx.AsyncClient
) -> None:
    client = AppendClient(api.url, api.token, http=http)
    for changed, status in (
        ({"anobody": {"Email": "e1"}}, 404),
        ({"anobody": {"ContactCard": "e1"}}, 403),
        ({}, 400),
    ):
        with pytest.raises(AppendRefusedError) as raised:
            await client.append(changed)
        assert raised.value.status == status
        assert raised.value.problem["detail"] in str(raised.value)
    with pytest.raises(AppendRefusedError) as raised:
        await AppendClient(api.url, "wrong", http=http).append({"a": {"Email": "e1"}})
    assert raised.value.status == 401


async def test_it_asks_again_through_an_outage_and_appends_once(
    api: RunningAppendApi, http: httpx.AsyncClient, fresh_nats: NatsServer
) -> None:
    client = AppendClient(api.url, api.token, http=http)
    account = await api.account()
    await asyncio.to_thread(fresh_nats.kill)
    await eventually(lambda: not api.log.guard.is_sound)
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(client.append({account: {"Email": "e1"}}))
        await eventually(lambda: b'outcome="postponed"' in api.metrics.text())
        await asyncio.to_thread(fresh_nats.start)
    assert asking.result().cursor
    assert len(await api.events(account)) == 1


async def test_it_tells_the_key_when_its_time_is_over(http: httpx.AsyncClient) -> None:
    """Nobody listens there."""
    client = AppendClient("http://127.0.0.1:1", "t", http=http, deadline_seconds=0.3)
    with pytest.raises(AppendUnknownError) as raised:
        await client.append({"a1": {"Email": "e1"}}, key="row-17")
    assert raised.value.key == "row-17"
    assert "Connect" in str(raised.value)
