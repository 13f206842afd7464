"""Real cards go in through JMAP; whoever listens, however it left, ends where /get is."""

import asyncio
import json
import os
import shutil
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli.embedded.ports import free_port
from tests.end_to_end.test_recovery import (
    add_card,
    client_at,
    new_user,
    open_stream,
    start,
)
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.end_to_end

CARDS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "contacts.json").read_text(encoding="utf-8")
)
BATCH = 20


@pytest.fixture
def stack() -> Any:
    with ExitStack() as opened:
        yield opened


class Listener:
    """A client that keeps the newest state it was told, and minds the order."""

    def __init__(self, client: JmapClient) -> None:
        self.client = client
        self.told: list[int] = []
        self.cursor: str | None = None

    async def listen(self, stream: EventSourceClient, until: str) -> None:
        while not self.told or f"s{self.told[-1]}" != until:
            cursor, changed = await stream.state()
            state = changed[self.client.account_id].get("ContactCard")
            if state is not None:
                self.told.append(int(state[1:]))
                self.cursor = cursor
        assert self.told == sorted(self.told), "an older state after a newer one"

    async def reconnect(self, url: str, until: str) -> None:
        async with await open_stream(url, self.client, self.cursor) as stream:
            await self.listen(stream, until)


async def _add_cards(client: JmapClient, cards: list[dict[str, Any]]) -> str:
    """The state after all of them are in, in batches."""
    [book] = (await client.call("AddressBook/get"))["list"]
    for start_at in range(0, len(cards), BATCH):
        batch = cards[start_at : start_at + BATCH]
        create = {
            f"c{n}": card | {"addressBookIds": {book["id"]: True}} for n, card in enumerate(batch)
        }
        answer = await client.call("ContactCard/set", create=create)
        assert not answer.get("notCreated"), answer["notCreated"]
    return await _state(client)


async def _state(client: JmapClient) -> str:
    return str((await client.call("ContactCard/get", ids=[]))["state"])


async def test_three_ways_to_listen_end_at_the_state_that_get_reports(
    stack: ExitStack, tmp_path: Path
) -> None:
    """One stays connected, one comes back with its last id, one after a restart of everything."""
    port = free_port()
    up = start(stack, tmp_path / "data", port)
    async with client_at(up.url, new_user(up)) as client:
        staying, returning, late = (Listener(client) for _ in range(3))
        stream = await open_stream(up.url, client)
        async with stream:
            first = await _add_cards(client, CARDS[:80])
            await staying.listen(stream, first)
            for listener in (returning, late):
                listener.cursor = staying.cursor
            second = await _add_cards(client, CARDS[80:160])
            await staying.listen(stream, second)
            await returning.reconnect(up.url, second)
            third = await _add_cards(client, CARDS[160:])
            await staying.listen(stream, third)
        assert up.terminate() == 0
        again = start(stack, tmp_path / "data", port)
        await late.reconnect(again.url, third)

        assert await _state(client) == third
        stored = (await client.call("ContactCard/get"))["list"]
        assert len(stored) == len(CARDS)
        by_uid = {card["uid"]: card for card in stored}
        for card in CARDS:
            for name, value in card.items():
                if value is not None:
                    assert by_uid[card["uid"]][name] == value
    assert again.terminate() == 0


@pytest.mark.parametrize("loss", ["deleted", "put back to an older copy"])
async def test_a_lost_log_is_noticed_and_made_anew_and_old_cursors_hold(
    loss: str, stack: ExitStack, tmp_path: Path
) -> None:
    """The server needs no hand, and nobody is told an older state."""
    port, data = free_port(), tmp_path / "data"
    up = start(stack, data, port)
    async with client_at(up.url, new_user(up)) as client:
        listener, stale = Listener(client), Listener(client)
        async with await open_stream(up.url, client) as stream:
            await listener.listen(stream, await add_card(client))
        stale.cursor, stale.told = listener.cursor, listener.told.copy()
        assert up.terminate() == 0
        shutil.copytree(data / "nats", tmp_path / "copy")

        up = start(stack, data, port)
        async with await open_stream(up.url, client, listener.cursor) as stream:
            for _ in range(5):
                await listener.listen(stream, await add_card(client))
        newest = await _state(client)
        assert up.terminate() == 0
        shutil.rmtree(data / "nats")
        if loss != "deleted":
            shutil.copytree(tmp_path / "copy", data / "nats")

        up = start(stack, data, port)
        await stale.reconnect(up.url, newest)
        again = Listener(client)
        again.cursor = listener.cursor  # it had everything; the new log may tell it once more
        async with await open_stream(up.url, client, again.cursor) as stream:
            await again.listen(stream, newest)
            await again.listen(stream, await add_card(client))
        up.wait_for_line("log_rebuild_finished")
    assert up.terminate() == 0


async def test_a_log_lost_under_open_streams_is_made_anew_under_them(
    stack: ExitStack, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    up = start(stack, data)
    async with client_at(up.url, new_user(up)) as client:
        listener = Listener(client)
        async with await open_stream(up.url, client) as stream:
            await listener.listen(stream, await add_card(client))
            pid = up.children()["nats"]
            os.kill(pid, signal.SIGSTOP)
            committed = await add_card(client)
            shutil.rmtree(data / "nats" / "jetstream")
            os.kill(pid, signal.SIGKILL)
            await listener.listen(stream, committed)
            await listener.listen(stream, await add_card(client))
    assert up.terminate() == 0


async def test_writers_and_kills_leave_every_reader_at_the_newest_state(
    stack: ExitStack, tmp_path: Path
) -> None:
    """Both servers die by turns under a writer; each client reconnects as a browser would."""
    up = start(stack, tmp_path / "data")
    async with client_at(up.url, new_user(up)) as client:
        listeners = [Listener(client) for _ in range(5)]
        first = await add_card(client)
        for listener in listeners:
            listener.cursor = "start"  # not a cursor of ours: all that there is
            await listener.reconnect(up.url, first)

        async def follow(listener: Listener, goal: asyncio.Future[str]) -> None:
            while not goal.done() or f"s{listener.told[-1]}" != goal.result():
                try:
                    stream = await open_stream(up.url, client, listener.cursor)
                    async with stream:
                        target = goal.result() if goal.done() else "s0"
                        await listener.listen(stream, target)
                except (AssertionError, TimeoutError, OSError, asyncio.IncompleteReadError):
                    await asyncio.sleep(0.1)

        goal: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            for listener in listeners:
                group.create_task(follow(listener, goal))
            for name in ("nats", "postgres", "nats", "postgres"):
                for _ in range(5):
                    await add_card(client)
                os.kill(up.children()[name], signal.SIGKILL)
                await eventually(lambda: _answers(up.url), seconds=30)
            goal.set_result(await add_card(client))
        assert all(listener.told == sorted(listener.told) for listener in listeners)
    assert up.terminate() == 0


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.get(f"{url}/health/ready")).status_code == 200
