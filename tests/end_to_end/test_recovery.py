"""A push arrives whatever was killed on its way, seen through HTTP and an event source."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from services.cli.embedded.ports import free_port
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.processes import Process, Up
from tests.support.servers import PostgresServer
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.end_to_end

TARGET = "/jmap/eventsource?types=ContactCard&closeafter=no&ping=300"
Changed = dict[str, dict[str, str]]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def start(stack: ExitStack, data: Path, port: int = 0) -> Up:
    up = Up(data, port=port)
    stack.callback(up.close)
    return up


@asynccontextmanager
async def client_at(url: str, who: dict[str, str]) -> AsyncIterator[JmapClient]:
    client = JmapClient(url, who["token"], who["account"])
    async with client.http:
        yield client


def new_user(up: Up) -> dict[str, str]:
    """Her `account` and `token`."""
    return up.command("user", "add", "ada") | up.command("token", "issue", "ada")


async def open_stream(url: str, client: JmapClient, cursor: str | None = None) -> EventSourceClient:
    port = httpx.URL(url).port
    assert port is not None
    resume = [] if cursor is None else [f"Last-Event-ID: {cursor}"]
    stream = await EventSourceClient.get(
        port, TARGET, f"Authorization: Bearer {client.token}", *resume
    )
    assert stream.status == 200
    return stream


async def add_card(client: JmapClient) -> str:
    """The new state; asked again while servers come back."""

    async def answered() -> str:
        try:
            await client.add_card(name={"full": "A"})
            return str((await client.call("ContactCard/get", ids=[]))["state"])
        except (httpx.HTTPError, AssertionError):
            return ""

    return await eventually(answered, seconds=30)


async def told_of(stream: EventSourceClient, client: JmapClient, state: str) -> str:
    """Read until the stream tells `state`; returns the cursor."""
    while True:
        cursor, changed = await stream.state()
        if changed[client.account_id]["ContactCard"] == state:
            return cursor


async def test_an_open_stream_outlives_both_servers(stack: ExitStack, tmp_path: Path) -> None:
    up = start(stack, tmp_path / "data")
    async with (
        client_at(up.url, new_user(up)) as client,
        await open_stream(up.url, client) as stream,
    ):
        await told_of(stream, client, await add_card(client))
        os.kill(up.children()["nats"], signal.SIGKILL)
        await told_of(stream, client, await add_card(client))
        os.kill(up.children()["postgres"], signal.SIGKILL)
        await told_of(stream, client, await add_card(client))
    assert up.terminate() == 0


async def test_a_client_resumes_after_everything_was_killed(
    stack: ExitStack, tmp_path: Path
) -> None:
    port = free_port()
    up = start(stack, tmp_path / "data", port)
    async with client_at(up.url, new_user(up)) as client:
        async with await open_stream(up.url, client) as stream:
            cursor = await told_of(stream, client, await add_card(client))
        os.kill(up.children()["nats"], signal.SIGSTOP)  # so that what follows is only committed
        committed = await add_card(client)
        up.kill()
        again = start(stack, tmp_path / "data", port)
        stream = await open_stream(again.url, client, cursor)
        async with stream:
            await told_of(stream, client, committed)
            await told_of(stream, client, await add_card(client))
    assert again.terminate() == 0


async def test_without_a_database_one_is_told_to_come_back(
    stack: ExitStack, tmp_path: Path, fresh_postgres: PostgresServer
) -> None:
    up = Up(tmp_path / "data", environment={"TIDINGS_POSTGRES_URL": fresh_postgres.dsn})
    stack.callback(up.close)
    token = up.command("token", "issue", "demo")["token"]
    async with httpx.AsyncClient(
        base_url=up.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
    ) as http:
        fresh_postgres.stop()
        for answer in (
            await http.get(TARGET),
            await http.post("/jmap/ticket"),
            await http.get("/jmap/session"),
        ):
            assert answer.status_code == 503, answer.url
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers.get("retry-after")
        fresh_postgres.start()
        await eventually(lambda: _is_answered(http))
    assert up.terminate() == 0


async def _is_answered(http: httpx.AsyncClient) -> bool:
    return (await http.get("/jmap/session")).status_code == 200


async def test_each_service_runs_alone_beside_it(stack: ExitStack, tmp_path: Path) -> None:
    up = start(stack, tmp_path / "data")
    dispatcher, dispatcher_url = alone(stack, up, "dispatcher")
    gateway, gateway_url = alone(stack, up, "gateway")
    await eventually(lambda: is_ready(dispatcher_url), seconds=30)
    await eventually(lambda: is_ready(gateway_url), seconds=30)
    async with client_at(dispatcher_url, new_user(up)) as client:
        async with await open_stream(gateway_url, client) as stream:
            cursor = await told_of(stream, client, await add_card(client))
            gateway.kill()
            missed = await add_card(client)
        async with await open_stream(up.url, client, cursor) as stream:
            await told_of(stream, client, missed)
    assert dispatcher.terminate() == 0
    assert up.terminate() == 0


def alone(stack: ExitStack, up: Up, service: str) -> tuple[Process, str]:
    port = free_port()
    process = Process(service, environment=up.environment | {"TIDINGS_PORT": str(port)})
    stack.callback(process.close)
    return process, f"http://127.0.0.1:{port}"


async def is_ready(url: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(f"{url}/health/ready")).status_code == 200
    except httpx.HTTPError:
        return False
