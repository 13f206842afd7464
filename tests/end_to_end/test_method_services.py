"""Method services as processes of their own: examples/notes_python behind `tidings up`."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.examples import Notes
from tests.support.method_services import appeared, disappeared
from tests.support.processes import Up
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.end_to_end

NOTES = "urn:example:notes"
CALLERS = 6


class Installation:
    """`up` with user ada, and a token for services that append."""

    def __init__(self, data: Path) -> None:
        environment = {"TIDINGS_METHOD_SERVICE_TIMEOUT_SECONDS": "3"}
        self.up = Up(data, environment=environment)
        self.account_id = self.up.command("user", "add", "ada")["account"]
        self.up.command("user", "add", "notes")
        self.append_token = self.up.command("token", "issue", "notes", "--scope", "append")["token"]
        self.token = self.up.command("token", "issue", "ada")["token"]
        self._services: list[Notes] = []

    @property
    def client(self) -> JmapClient:
        return JmapClient(self.up.url, self.token, self.account_id)

    def notes(self) -> Notes:
        self._services.append(Notes(self.up, self.append_token))
        return self._services[-1]

    def close(self) -> None:
        for service in self._services:
            service.close()
        self.up.close()


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("up") / "data")
    yield installation
    installation.close()


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[JmapClient]:
    client = installation.client
    yield client
    await client.http.aclose()


@asynccontextmanager
async def database(installation: Installation) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(installation.up.running.postgres_url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def pushes(installation: Installation) -> AsyncIterator[EventSourceClient]:
    port = httpx.URL(installation.up.url).port
    assert port is not None
    async with await EventSourceClient.get(
        port,
        "/jmap/eventsource?types=Note&closeafter=no&ping=0",
        f"Authorization: Bearer {installation.token}",
    ) as source:
        yield source


async def test_notes_are_read_written_synchronised_and_pushed(
    installation: Installation, client: JmapClient
) -> None:
    service = installation.notes()
    await appeared(client, NOTES)
    async with pushes(installation) as source:
        empty = await client.call("Note/get")
        account = {"accountId": client.account_id}
        note = {"title": "Milk", "body": "two"}
        ids = {"resultOf": "0", "name": "Note/changes", "path": "/created"}
        body = await client.request(
            ["Note/set", {**account, "create": {"k": note, "bad": {"title": 7}}}, "s"],
            ["Note/changes", {**account, "sinceState": empty["state"]}, "0"],
            ["Note/get", {**account, "#ids": ids}, "1"],
            ["Note/set", {**account, "update": {"#k": {"body": "three"}}}, "u"],
            ["Note/set", {**account, "update": {"x": {"title": "y"}}, "destroy": ["#k"]}, "d"],
            created_ids={},
        )
        answers = {answer[2]: answer[1] for answer in body["methodResponses"]}
        note_id = body["createdIds"]["k"]
        assert answers["s"]["notCreated"]["bad"]["type"] == "invalidProperties"
        assert answers["0"]["created"] == [note_id]
        assert answers["1"]["list"] == [{"id": note_id, **note}]
        assert answers["u"]["updated"] == {note_id: None}
        assert answers["d"]["destroyed"] == [note_id]
        assert answers["d"]["notUpdated"]["x"] == {"type": "notFound"}
        since = await client.call("Note/changes", sinceState=answers["u"]["oldState"])
        assert (since["updated"], since["destroyed"]) == ([], [note_id])
        await told(source, client, answers["d"]["newState"])
        assert (await client.error("Note/set", ifInState="n0"))["type"] == "stateMismatch"
    assert service.terminate() == 0
    await disappeared(client, NOTES)


async def told(source: EventSourceClient, client: JmapClient, state: str) -> None:
    """Reads until the state comes; it must."""
    seen = ""
    while seen != state:
        _, changed = await source.state()
        seen = changed[client.account_id]["Note"]


async def test_a_service_killed_in_the_middle_changed_nothing_and_says_so(
    installation: Installation, client: JmapClient
) -> None:
    """serverPartialFail: who has it looks what is there (RFC 8620 section 3.6.2)."""
    service = installation.notes()
    await appeared(client, NOTES)
    await client.call("Note/set", create={"k": {"title": "before"}})
    before = await client.call("Note/get")
    async with database(installation) as connection:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM notes.accounts FOR UPDATE")
            async with asyncio.TaskGroup() as tasks:
                call = tasks.create_task(client.error("Note/set", create={"k": {"title": "never"}}))
                await eventually(lambda: is_waited_for(connection))
                service.kill()
        assert call.result()["type"] == "serverPartialFail"
    installation.notes()
    await eventually(lambda: gets(client, before))


async def is_waited_for(connection: "asyncpg.Connection[Any]") -> bool:
    return bool(await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0)


async def gets(client: JmapClient, expected: Any) -> bool:
    name, answer = (await client.answer("Note/get", {"accountId": client.account_id}))[:2]
    return bool(name == "Note/get" and answer == expected)


async def test_a_change_whose_service_died_before_it_answered_is_told_after_its_start(
    installation: Installation, client: JmapClient
) -> None:
    installation.notes()
    await appeared(client, NOTES)
    await client.call("Note/set", create={"k": {"title": "x"}})
    async with database(installation) as connection, pushes(installation) as source:
        # As a commit whose process is gone: no answer told of it.
        modseq = await connection.fetchval(
            "UPDATE notes.accounts SET modseq = modseq + 1 WHERE id = $1 RETURNING modseq",
            client.account_id,
        )
        await told(source, client, f"n{modseq}")


async def test_a_restart_under_load_fails_no_more_than_the_calls_it_held(
    installation: Installation, client: JmapClient
) -> None:
    """One instance is killed, the other ends in good order; each starts again."""
    first, second = installation.notes(), installation.notes()
    await appeared(client, NOTES)
    outcomes: list[str] = []
    stop = asyncio.Event()
    clients = [client, *[installation.client for _ in range(CALLERS - 1)]]
    for other in clients[1:]:
        other.using = client.using
    async with asyncio.TaskGroup() as tasks:
        for other in clients:
            tasks.create_task(call_and_call(other, outcomes, stop))
        try:
            await more(outcomes, 100)
            first.kill()
            await more(outcomes, 100)
            held = [outcome for outcome in outcomes if outcome != "ok"]
            installation.notes()
            await asyncio.to_thread(second.terminate)
            await more(outcomes, 100)
            installation.notes()
            await more(outcomes, 100)
        finally:
            stop.set()
    failed = [outcome for outcome in outcomes if outcome != "ok"]
    assert set(failed) <= {"serverUnavailable"}
    # Each caller has one call under way: those that the killed instance held, and none after it.
    assert len(held) <= CALLERS
    assert len(failed) <= CALLERS
    for other in clients[1:]:
        await other.http.aclose()


async def call_and_call(client: JmapClient, outcomes: list[str], stop: asyncio.Event) -> None:
    while not stop.is_set():
        response = await client.post(
            {"using": list(client.using), "methodCalls": [["Note/get", account(client), "0"]]}
        )
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS:  # four at once for a user
            await asyncio.sleep(0.01)
            continue
        assert response.status_code == httpx.codes.OK, response.text
        name, answer, _ = response.json()["methodResponses"][0]
        outcomes.append("ok" if name != "error" else answer["type"])


def account(client: JmapClient) -> dict[str, str]:
    return {"accountId": client.account_id}


async def more(outcomes: list[str], count: int) -> None:
    before = len(outcomes)
    await eventually(lambda: len(outcomes) >= before + count, seconds=30)


async def test_writes_under_load_are_all_known_after_a_kill(
    installation: Installation, client: JmapClient
) -> None:
    """What was answered is there; what failed with serverPartialFail may be there or not."""
    service = installation.notes()
    await appeared(client, NOTES)
    before = {note["id"] for note in (await client.call("Note/get"))["list"]}
    made: set[str] = set()
    unknown = 0

    async def write(number: int) -> None:
        nonlocal unknown
        for step in range(15):
            title = f"{number} {step}"
            name, answer, _ = await client.answer(
                "Note/set", {**account(client), "create": {"k": {"title": title}}}
            )
            if name == "error":
                assert answer["type"] in ("serverPartialFail", "serverUnavailable")
                unknown += answer["type"] == "serverPartialFail"
                await asyncio.sleep(0.1)
            else:
                made.add(answer["created"]["k"]["id"])

    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(write(number))
        await eventually(lambda: len(made) > 5)
        service.kill()
        await asyncio.to_thread(installation.notes)
    after = await client.call("Note/get")
    there = {note["id"] for note in after["list"]} - before
    assert made <= there
    assert len(there - made) <= unknown <= 3
    async with database(installation) as connection:
        await eventually(lambda: is_told(connection, client, after["state"]))


async def is_told(connection: "asyncpg.Connection[Any]", client: JmapClient, state: str) -> bool:
    """The dispatcher knows the service's newest state."""
    known = await connection.fetchval(
        "SELECT state FROM type_states WHERE account_id = $1 AND type = 'Note'", client.account_id
    )
    return bool(known == state)
