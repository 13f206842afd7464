"""PostgreSQL is put back to an older copy while NATS keeps its log: docs/adr/0023."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncpg
import httpx
import pytest

from services.cli.embedded.ports import free_port
from shared.client.append import AppendClient
from tests.end_to_end.test_recovery import add_card, client_at, new_user, start
from tests.support.dispatcher import JmapClient
from tests.support.processes import Up
from tests.support.servers import PostgresServer
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.end_to_end

BOTH = "/jmap/eventsource?types=ContactCard,Email&closeafter=no&ping=300"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def copy(folder: Path, to: Path) -> None:
    """With its owner, without whom PostgreSQL does not start."""
    if to.exists():
        shutil.rmtree(to)
    subprocess.run(["cp", "-a", folder, to], check=True)


async def listen(up: Up, client: JmapClient, *resume: str) -> EventSourceClient:
    port = httpx.URL(up.url).port or 0
    return await EventSourceClient.get(port, BOTH, f"Authorization: Bearer {client.token}", *resume)


async def told_of(stream: EventSourceClient, client: JmapClient, state: str) -> str:
    """Read until the stream tells `state`; returns the cursor."""
    while True:
        cursor, changed = await stream.state()
        if changed[client.account_id].get("ContactCard") == state:
            return cursor


async def add_cards(client: JmapClient, count: int) -> str:
    """The last state."""
    return [await add_card(client) for _ in range(count)][-1]


async def append(up: Up, account: str, state: str) -> None:
    """As a mail store does that keeps its own data."""
    token = up.command("token", "issue", "demo", "--scope", "append")["token"]
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        await AppendClient(up.url, token, http=http).append({account: {"Email": state}})


async def told(stream: EventSourceClient, account: str, *, count: int) -> dict[str, str]:
    """The first states that it tells of so many types."""
    states: dict[str, str] = {}
    while len(states) < count:
        _, changed = await stream.state()
        states |= changed.get(account, {})
    return states


async def must_start_afresh(client: JmapClient, forgotten: str, states: dict[str, str]) -> None:
    """Whoever holds `forgotten` is told another state, and not that there were no changes."""
    assert int(states["ContactCard"][1:]) > int(forgotten[1:]), "a state is given out twice"
    assert (await client.call("ContactCard/get", ids=[]))["state"] == states["ContactCard"]
    answer = await client.error("ContactCard/changes", sinceState=forgotten)
    assert answer["type"] == "cannotCalculateChanges"
    answer = await client.call("ContactCard/changes", sinceState=states["ContactCard"])
    assert answer["newState"] == states["ContactCard"]


async def test_whoever_listened_is_told_a_newer_state_and_all_later_ones(
    stack: ExitStack,
    tmp_path: Path,
) -> None:
    data, port = tmp_path / "data", free_port()
    up = start(stack, data, port)
    async with client_at(up.url, new_user(up)) as client:
        kept = await add_card(client)
        await append(up, client.account_id, "e1")
        assert up.terminate() == 0
        copy(data / "postgres", tmp_path / "backup")

        up = start(stack, data, port)
        async with await listen(up, client) as stream:
            forgotten = await add_cards(client, 5)
            await append(up, client.account_id, "e2")
            cursor = await told_of(stream, client, forgotten)
        assert up.terminate() == 0
        copy(tmp_path / "backup", data / "postgres")

        up = start(stack, data, port)
        async with await listen(up, client, f"Last-Event-ID: {cursor}") as stream:
            states = await told(stream, client.account_id, count=2)
            assert states["Email"] == "e2", "what another store has is not taken back"
            await must_start_afresh(client, forgotten, states)
            assert len((await client.call("ContactCard/get"))["list"]) == int(kept[1:]) - 1
            await told_of(stream, client, await add_card(client))
            await append(up, client.account_id, "e3")
            assert await told(stream, client.account_id, count=1) == {"Email": "e3"}
        assert sum("database_older_than_log" in line for line in up.lines) == 1


async def test_streams_stay_open_over_it(
    stack: ExitStack,
    tmp_path: Path,
    fresh_postgres: PostgresServer,
) -> None:
    up = Up(tmp_path / "data", environment={"TIDINGS_POSTGRES_URL": fresh_postgres.dsn})
    stack.callback(up.close)
    connection = await asyncpg.connect(fresh_postgres.dsn)
    folder = Path(await connection.fetchval("SHOW data_directory"))
    await connection.close()
    async with (
        client_at(up.url, new_user(up)) as client,
        await listen(up, client) as stream,
    ):
        await told_of(stream, client, await add_card(client))
        fresh_postgres.stop()
        copy(folder, tmp_path / "backup")
        await asyncio.to_thread(fresh_postgres.start)
        forgotten = await add_cards(client, 5)
        await told_of(stream, client, forgotten)
        fresh_postgres.stop()
        copy(tmp_path / "backup", folder)
        await asyncio.to_thread(fresh_postgres.start)

        await must_start_afresh(client, forgotten, await told(stream, client.account_id, count=1))
        await told_of(stream, client, await add_card(client))
    assert up.terminate() == 0
