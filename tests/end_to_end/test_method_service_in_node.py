"""A method service in another language: examples/tasks_node, with the official client of NATS."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.examples import Tasks, install_tasks
from tests.support.method_services import appeared
from tests.support.processes import Up
from tests.support.wire import EventSourceClient

pytestmark = [pytest.mark.end_to_end, pytest.mark.node]

TASKS = "urn:example:tasks"


class Installation:
    """`up` with user ada, and tasks beside it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder / "tasks"
        self._folder.mkdir()
        install_tasks(self._folder)
        self._stack = stack
        self.up = Up(folder / "data")
        stack.callback(self.up.close)
        self.account_id = self.up.command("user", "add", "ada")["account"]
        self.token = self.up.command("token", "issue", "ada")["token"]
        self._append = self.up.command("token", "issue", "ada", "--scope", "append")["token"]

    def tasks(self) -> Tasks:
        tasks = Tasks(self._folder, self.up, self._append)
        self._stack.callback(tasks.close)
        return tasks

    async def pushes(self) -> EventSourceClient:
        port = httpx.URL(self.up.url).port
        assert port is not None
        return await EventSourceClient.get(
            port,
            "/jmap/eventsource?types=Task&closeafter=no&ping=0",
            f"Authorization: Bearer {self.token}",
        )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with ExitStack() as stack:
        yield Installation(tmp_path_factory.mktemp("node"), stack)


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[JmapClient]:
    client = JmapClient(installation.up.url, installation.token, installation.account_id)
    yield client
    await client.http.aclose()


async def test_tasks_are_read_written_synchronised_and_pushed(
    installation: Installation, client: JmapClient
) -> None:
    service = installation.tasks()
    session = await appeared(client, TASKS)
    [shown] = session["accounts"].values()
    assert shown["accountCapabilities"][TASKS] == {"maxTitleLength": 200}
    account = {"accountId": client.account_id}
    ids = {"resultOf": "c", "name": "Task/changes", "path": "/created"}
    async with await installation.pushes() as source:
        body = await client.request(
            ["Task/set", {**account, "create": {"k": {"title": "A"}, "bad": {"x": 1}}}, "s"],
            ["Task/changes", {**account, "sinceState": "t0"}, "c"],
            ["Task/get", {**account, "#ids": ids}, "g"],
            ["Task/set", {**account, "update": {"#k": {"isDone": True}}}, "u"],
            created_ids={},
        )
        answers = {answer[2]: answer[1] for answer in body["methodResponses"]}
        task_id = body["createdIds"]["k"]
        assert answers["s"]["notCreated"]["bad"]["type"] == "invalidProperties"
        assert answers["g"]["list"] == [{"id": task_id, "title": "A", "isDone": False}]
        assert answers["u"]["updated"] == {task_id: None}
        seen = ""
        while seen != answers["u"]["newState"]:
            seen = (await source.state())[1][client.account_id]["Task"]
    assert (await client.error("Task/get", accountId="other"))["type"] == "accountNotFound"
    assert (await client.error("Task/changes", sinceState="x"))["type"] == "cannotCalculateChanges"
    assert service.terminate() == 0


async def test_tasks_survive_a_kill(installation: Installation, client: JmapClient) -> None:
    service = installation.tasks()
    await appeared(client, TASKS)
    made = await client.call("Task/set", create={"k": {"title": "B"}})
    task_id = made["created"]["k"]["id"]
    service.kill()
    installation.tasks()
    await eventually(lambda: has(client, task_id))
    gone = await client.call("Task/set", destroy=[task_id, "none"])
    assert gone["destroyed"] == [task_id]
    assert gone["notDestroyed"] == {"none": {"type": "notFound"}}


async def has(client: JmapClient, task_id: str) -> bool:
    name, answer = (await client.answer("Task/get", {"accountId": client.account_id}))[:2]
    return name == "Task/get" and task_id in [task["id"] for task in answer["list"]]
