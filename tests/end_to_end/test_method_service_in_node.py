"""A method service in another language: examples/tasks_node, with the official client of NATS."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from services.cli.embedded.ports import free_port
from shared.store.credentials import issue_token
from shared.store.people import add_user
from shared.store.pool import open_pool
from tests.support.deployment import DeployedNats, Secrets
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually, wait_until
from tests.support.examples import Tasks, install_tasks
from tests.support.method_services import appeared
from tests.support.processes import Process, Up, tidings
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
        tasks = Tasks(self._folder, self.up.running.nats_url, self._append)
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


class Deployment:
    """A dispatcher, and tasks beside it, each with the NATS user that `tidings secrets` makes."""

    def __init__(self, folder: Path, postgres: str, stack: ExitStack) -> None:
        port, http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{http_port}"
        self._stack = stack
        self._folder = folder / "tasks"
        self._secrets = Secrets(folder / "secrets", nats_ports=[port], postgres=postgres)
        nats = DeployedNats(folder / "nats", self._secrets, port=port)
        stack.callback(nats.stop)
        nats.start()
        assert tidings("migrate", environment=self._secrets.of("operator")).returncode == 0
        environment = {**self._secrets.of("dispatcher"), "TIDINGS_PORT": str(http_port)}
        self.dispatcher = Process("dispatcher", environment=environment)
        stack.callback(self.dispatcher.close)
        wait_until(lambda: is_ready(self.url), seconds=30)

    def tasks(self, token: str) -> Tasks:
        self._folder.mkdir()
        install_tasks(self._folder)
        tasks = Tasks(self._folder, self._secrets.nats_url("methods"), token)
        self._stack.callback(tasks.close)
        return tasks


async def test_tasks_need_no_more_than_the_nats_user_of_method_services(
    tmp_path: Path, postgres_dsn: str
) -> None:
    """By nats/access.conf: found, called, and told by append."""
    with ExitStack() as stack:
        deployment = Deployment(tmp_path, postgres_dsn, stack)
        async with open_pool(postgres_dsn, connections_max=1) as pool:
            _, account_id = await add_user(pool, "ada")
            _, token = await issue_token(pool, "ada")
            _, append_token = await issue_token(pool, "ada", scopes=["append"])
        service = deployment.tasks(append_token)
        client = JmapClient(deployment.url, token, account_id)
        await appeared(client, TASKS)
        made = await client.call("Task/set", create={"k": {"title": "A"}})
        assert await has(client, made["created"]["k"]["id"])
        told = 'tidings_append_requests_total{outcome="appended"}'
        metrics = f"{deployment.url}/metrics"
        await eventually(lambda: told in httpx.get(metrics, trust_env=False).text, seconds=20)
        await client.http.aclose()
        for process in (service, deployment.dispatcher):
            assert "permissions violation" not in process.output().lower()
        assert "not told yet" not in service.output()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", trust_env=False).is_success
    except httpx.HTTPError:
        return False


async def has(client: JmapClient, task_id: str) -> bool:
    name, answer = (await client.answer("Task/get", {"accountId": client.account_id}))[:2]
    return name == "Task/get" and task_id in [task["id"] for task in answer["list"]]
