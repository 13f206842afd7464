"""An account is removed while clients, producers and uploads are at it (docs/adr/0022)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from shared.bus.control import ControlMessage
from shared.store.blobs import INLINE_BYTES_MAX, BlobLostError, BlobWriter
from shared.store.credentials import issue_token
from shared.store.removals import begin_removal
from tests.support.dispatcher import BLOB, JmapClient
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.push_subscriptions import push_get, subscribe
from tests.support.websocket import WebSocketClient
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

TABLES = ("accounts", "grants", "type_states", "records", "blobs", "blob_pieces", "outbox")
LARGE = b"x" * (INLINE_BYTES_MAX + 1)


@pytest.fixture
async def running(clean_nats_url: str, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    async with everything_running(clean_nats_url, postgres_dsn) as everything:
        yield everything


async def remove(running: RunningEverything, account_id: str, *, is_told: bool = True) -> None:
    """As `tidings account remove` does it."""
    pool = running.everything.pool
    begun = await begin_removal(pool, account_id)
    if is_told:
        for user_id in begun.user_ids:
            await running.tell(ControlMessage(grants_changed=user_id))
    await running.everything.removals.end(account_id, begun.removed_at)


async def rows_of(running: RunningEverything, account_id: str) -> dict[str, int]:
    pool = running.everything.pool
    column = {"accounts": "id"}
    counts = {
        table: await pool.fetchval(
            f"SELECT count(*) FROM {table} WHERE {column.get(table, 'account_id')} = $1",
            account_id,
        )
        for table in TABLES
    }
    return {table: count for table, count in counts.items() if count}


async def shared_with_anna(running: RunningEverything) -> tuple[JmapClient, str]:
    """Anna, and an account of bob's that she sees."""
    anna, _ = await running.user("anna")
    bob, _ = await running.user("bob")
    await running.grant(bob.account_id, "anna")
    return anna, bob.account_id


async def session_of(client: JmapClient) -> dict[str, Any]:
    session: dict[str, Any] = (await client.http.get("/jmap/session")).json()
    return session


@pytest.mark.parametrize("is_told", [True, False])
async def test_it_leaves_sessions_and_streams_and_the_other_accounts_go_on(
    running: RunningEverything, *, is_told: bool
) -> None:
    anna, removed = await shared_with_anna(running)
    before = await session_of(anna)
    authorization = f"Authorization: Bearer {anna.token}"
    async with (
        await EventSourceClient.get(
            running.port, "/jmap/eventsource?types=ContactCard", authorization
        ) as stream,
        await WebSocketClient.connect(running.port, authorization) as socket,
    ):
        socket.send({"@type": "WebSocketPushEnable", "dataTypes": ["ContactCard"]})
        connections = running.everything.gateway.connections
        await eventually(lambda: sum(connections.joined.values()) == 2)
        await remove(running, removed, is_told=is_told)
        if not is_told:
            await running.everything.gateway.look_at_all_again()
        await eventually(lambda: all(removed not in it.account_ids for it in connections))

        await anna.add_card(name={"full": "Anna's"})
        assert (await stream.state())[1].keys() == {anna.account_id}
        assert (await socket.message())["changed"].keys() == {anna.account_id}

    async def has_left() -> bool:
        return set((await session_of(anna))["accounts"]) == {anna.account_id}

    await eventually(has_left)
    answer = await anna.request(["Core/echo", {}, "0"])
    assert answer["sessionState"] == (await session_of(anna))["state"] != before["state"]
    assert (await anna.error("ContactCard/get", accountId=removed))["type"] == "accountNotFound"


async def test_who_comes_back_with_a_cursor_from_before_is_told_of_the_others_only(
    running: RunningEverything,
) -> None:
    """A gateway that was away knows no more than the grants say."""
    anna, removed = await shared_with_anna(running)
    target = "/jmap/eventsource?types=ContactCard&closeafter=state"
    authorization = f"Authorization: Bearer {anna.token}"
    async with await EventSourceClient.get(running.port, target, authorization) as stream:
        await anna.add_card(name={"full": "one"})
        cursor, _ = await stream.state()
    await anna.add_card(name={"full": "two"})
    await remove(running, removed)

    async with await EventSourceClient.get(
        running.port, target, authorization, f"Last-Event-ID: {cursor}"
    ) as stream:
        assert (await stream.state())[1].keys() == {anna.account_id}


async def test_all_rows_of_all_kinds_go_and_those_of_others_stay(
    running: RunningEverything,
) -> None:
    anna, removed = await shared_with_anna(running)
    bob = running.clients[1]
    for client in (anna, bob):
        for content in (b"small", LARGE):
            await client.http.post(f"/jmap/upload/{client.account_id}/", content=content)
        await client.add_card(name={"full": "x"})
    kept = await rows_of(running, anna.account_id)
    assert (await rows_of(running, removed)).keys() == set(TABLES)
    await remove(running, removed)

    assert await rows_of(running, removed) == {"accounts": 1}
    assert await rows_of(running, anna.account_id) == kept
    removals = running.everything.removals
    await anna.add_card(name={"full": "y"})

    async def is_gone() -> bool:
        await removals.go_on(tombstone_kept=timedelta(0))
        return await rows_of(running, removed) == {}

    await eventually(is_gone)


class Writers:
    """Ask for changes of one account, and note what they are refused with."""

    def __init__(self, client: JmapClient, account_id: str, append_token: str) -> None:
        self._client = client
        self._account_id = account_id
        self._token = append_token
        self.refused: set[object] = set()

    async def call(self, method: str, create: dict[str, object]) -> None:
        arguments = {"accountId": self._account_id, "create": {"k": create}}
        name, answer, _ = await self._client.answer(method, arguments)
        if name == "error" or answer["created"] is None:
            self.refused.add(answer.get("type"))

    async def upload(self) -> None:
        path = f"/jmap/upload/{self._account_id}/"
        response = await self._client.http.post(path, content=LARGE)
        self.refused |= {response.status_code} - {201}

    async def append(self) -> None:
        body = {"@type": "StateChange", "changed": {self._account_id: {"Email": "s"}}}
        headers = {"Authorization": f"Bearer {self._token}"}
        response = await self._client.http.post("/tidings/append", json=body, headers=headers)
        self.refused |= {response.status_code} - {200}


async def test_writers_at_work_leave_nothing_behind(running: RunningEverything) -> None:
    """JMAP calls, uploads and appends race the removal; each ends well or with its error."""
    _, removed = await shared_with_anna(running)
    bob = running.clients[1]
    bob.using = (*bob.using, BLOB)
    card = {"name": {"full": "x"}, "addressBookIds": {await bob.address_book(): True}}
    _, token = await issue_token(running.everything.pool, "anna", ["append"])
    writers = Writers(bob, removed, token)
    works: list[Callable[[], Awaitable[None]]] = [
        lambda: writers.call("ContactCard/set", card),
        lambda: writers.call("Blob/upload", {"data": [{"data:asText": "x"}]}),
        writers.upload,
        writers.append,
    ]
    stopped = asyncio.Event()

    async def repeat(work: Callable[[], Awaitable[None]]) -> None:
        while not stopped.is_set():
            await work()

    async with asyncio.TaskGroup() as tasks:
        for work in [*works, *works]:
            tasks.create_task(repeat(work))
        await asyncio.sleep(0.5)  # they are at it
        await remove(running, removed)
        await eventually(lambda: writers.refused >= {"accountNotFound", 404})
        stopped.set()
    assert writers.refused == {"accountNotFound", 404}
    assert await rows_of(running, removed) == {"accounts": 1}


async def test_an_upload_that_began_before_cannot_be_finished(
    running: RunningEverything,
) -> None:
    """However far it was: nothing of it is left in the database."""
    _, removed = await shared_with_anna(running)
    pool = running.everything.pool
    user_id = await pool.fetchval("SELECT id FROM users WHERE name = 'bob'")

    def writer() -> BlobWriter:
        return BlobWriter(pool, removed, user_id, bytes_max=10_000_000)

    small, begun, complete = writer(), writer(), writer()
    await small.write(b"small")
    for one in (begun, complete):
        await one.write(b"x" * 300_000)
    await remove(running, removed)

    with pytest.raises(BlobLostError):
        await small.finish(None)
    with pytest.raises(BlobLostError):
        await begun.write(b"x" * 300_000)
    with pytest.raises(BlobLostError):
        await complete.finish(None)
    assert await rows_of(running, removed) == {"accounts": 1}


async def test_a_user_whose_personal_account_was_removed_stays(
    running: RunningEverything,
) -> None:
    """With its token, its push subscription, and what others let it see."""
    anna, shared = await shared_with_anna(running)
    subscription = await subscribe(anna, url="https://127.0.0.1:1/x")
    await remove(running, anna.account_id)

    async def has_one_account() -> bool:
        return set((await session_of(anna))["accounts"]) == {shared}

    await eventually(has_one_account)
    assert (await session_of(anna))["primaryAccounts"] == {}
    assert [it["id"] for it in (await push_get(anna))["list"]] == [subscription["id"]]
    authorization = f"Authorization: Bearer {anna.token}"
    async with await EventSourceClient.get(
        running.port, "/jmap/eventsource?types=ContactCard", authorization
    ) as stream:
        await running.clients[1].add_card(name={"full": "Bob's"})
        assert (await stream.state())[1].keys() == {shared}
        await remove(running, shared)
        connections = running.everything.gateway.connections
        await eventually(lambda: all(not it.account_ids for it in connections))
    assert (await session_of(anna))["accounts"] == {}


async def test_no_lane_remembers_that_it_told_of_the_account(
    running: RunningEverything,
) -> None:
    anna, removed = await shared_with_anna(running)
    pool = running.everything.pool
    subscription = await subscribe(anna, url="https://127.0.0.1:1/x")
    told = f'{{"{removed}": 999999, "{anna.account_id}": 999998}}'.encode()
    await pool.execute("UPDATE lanes SET told = $1, paused_at = now()", told)
    begun = await begin_removal(pool, removed)
    await running.everything.removals.end(removed, begun.removed_at)

    left = await pool.fetchval(
        "SELECT array(SELECT jsonb_object_keys(told)) FROM lanes WHERE subscription_id = $1",
        subscription["id"],
    )
    assert left == [anna.account_id]
