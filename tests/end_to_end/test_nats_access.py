"""Each process has a NATS user of its own (nats/access.conf): enough to work, and no more."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from nats.errors import Error as NatsError

from services.cli.deployment import USERS
from services.cli.embedded.ports import free_port
from shared.bus.connection import open_bus
from shared.bus.jetstream import JetStream
from shared.log.subjects import STREAM, subject_of
from shared.operate.connections import ConnectionFilter, Watched
from shared.operate.explain.explaining import Resources, explain
from shared.operate.explain.words import AllOfUser, ByAccount, Question, Reason
from shared.operate.gateways import Gateways
from shared.runtime.nats_files import NATS_FILES
from shared.store.credentials import issue_token
from shared.store.people import add_user
from shared.store.pool import open_pool
from tests.support.deployment import DeployedNats, Secrets
from tests.support.dispatcher import JmapClient
from tests.support.eventually import PATIENCE, eventually, wait_until
from tests.support.method_services import appeared
from tests.support.processes import Process, Program, tidings
from tests.support.push_subscriptions import subscribe
from tests.support.servers import Databases
from tests.support.spy import spying
from tests.support.webhook_sink import WebhookSink, webhook_sink
from tests.support.websocket import WebSocketClient
from tests.support.websocket_talk import asking
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.end_to_end

_KINDS = ("dispatcher", "gateway", "webhooks")
_EVENT_SOURCE = "/jmap/eventsource?types=*&closeafter=no&ping=0"
_CONSUMER = {"name": "thief", "ack_policy": "none", "deliver_policy": "all"}


class Deployed:
    """A dispatcher, a gateway and a deliverer, each with its own user, on one NATS server."""

    def __init__(self, secrets: Secrets, stack: ExitStack) -> None:
        self.secrets = secrets
        self.postgres_url = secrets.of("operator")["TIDINGS_POSTGRES_URL"]
        self.ports = {kind: free_port() for kind in _KINDS}
        self.processes = {}
        for kind, port in self.ports.items():
            environment = {**secrets.of(kind), "TIDINGS_PORT": str(port)}
            if kind != "gateway":
                environment["TIDINGS_WEBHOOK_ALLOW"] = "127.0.0.0/8"
            self.processes[kind] = Process(kind, environment=environment)
            stack.callback(self.processes[kind].close)

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports.values()]

    def violations(self) -> list[str]:
        lines = [line for process in self.processes.values() for line in process.lines]
        return [line for line in lines if "permissions violation" in line.lower()]

    async def client(self, name: str) -> JmapClient:
        async with open_pool(self.postgres_url, connections_max=1) as pool:
            _, account_id = await add_user(pool, name)
            _, token = await issue_token(pool, name)
        return JmapClient(self.urls[0], token, account_id)

    async def append_token(self, name: str) -> str:
        async with open_pool(self.postgres_url, connections_max=1) as pool:
            _, token = await issue_token(pool, name, scopes=["append"])
        return token

    async def last_sequence(self) -> int:
        async with open_bus(self.secrets.nats_url("operator"), name="test") as bus:
            info = await JetStream(bus).stream_info(STREAM)
        assert info is not None
        return info.state.last_seq


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Deployed]:
    folder = tmp_path_factory.mktemp("access")
    port = free_port()
    with ExitStack() as stack:
        postgres = stack.enter_context(databases.fresh())
        secrets = Secrets(folder / "secrets", nats_ports=[port], postgres=postgres)
        nats = DeployedNats(folder / "nats", secrets, port=port)
        stack.callback(nats.stop)
        nats.start()
        migrated = tidings("migrate", environment=secrets.of("operator"))
        assert migrated.returncode == 0, migrated.stderr
        deployed = Deployed(secrets, stack)
        for url in deployed.urls:
            wait_until(lambda u=url: _is_ready(u), seconds=60)  # type: ignore[misc]
        yield deployed


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


async def test_a_change_arrives_everywhere_with_the_users_of_a_deployment(
    deployed: Deployed, sink: WebhookSink
) -> None:
    ada = await deployed.client("ada")
    gateway = deployed.ports["gateway"]
    authorization = f"Authorization: Bearer {ada.token}"
    await subscribe(ada, url=sink.url("/ada"), types=None)
    await eventually(lambda: sink.posts_to("/ada"), what="no PushVerification")
    target = "/jmap/eventsource?types=ContactCard&closeafter=no&ping=0"
    async with await EventSourceClient.get(gateway, target, authorization) as stream:
        assert stream.status == 200
        socket = await WebSocketClient.connect(gateway, authorization)
        socket.send(asking("r1", hello=True))  # forwarded to the dispatcher and answered
        assert (await socket.message())["methodResponses"] == [["Core/echo", {"hello": True}, "c1"]]
        await ada.add_card(name={"full": "Grace"})
        state = (await ada.call("ContactCard/get", ids=[]))["state"]
        _, changed = await stream.state()
        assert changed == {ada.account_id: {"ContactCard": state}}
        socket.writer.transport.abort()
    await eventually(
        lambda: _told(sink, "/ada").get(ada.account_id, {}).get("ContactCard") == state
    )
    assert not deployed.violations()
    await ada.http.aclose()


def _told(sink: WebhookSink, path: str) -> dict[str, dict[str, str]]:
    """The newest states, once the subscription was verified."""
    known: dict[str, dict[str, str]] = {}
    for post in sink.posts_to(path):
        for account_id, states in json.loads(post.content).get("changed", {}).items():
            known.setdefault(account_id, {}).update(states)
    return known


async def test_the_dispatchers_user_makes_a_lost_log_anew_and_the_deliverers_its_consumer(
    deployed: Deployed, sink: WebhookSink
) -> None:
    bob = await deployed.client("bob")
    await subscribe(bob, url=sink.url("/bob"), types=None)
    await eventually(lambda: sink.posts_to("/bob"), what="no PushVerification")
    async with open_bus(deployed.secrets.nats_url("operator"), name="test") as bus:
        await JetStream(bus).delete_stream(STREAM)
    await bob.add_card(name={"full": "After"})
    state = (await bob.call("ContactCard/get", ids=[]))["state"]
    await eventually(
        lambda: _told(sink, "/bob").get(bob.account_id, {}).get("ContactCard") == state, seconds=30
    )
    assert not deployed.violations()
    await bob.http.aclose()


@pytest.mark.parametrize("user", ["gateway", "webhooks", "console", "methods", "appender"])
async def test_only_the_dispatchers_may_append(deployed: Deployed, user: str) -> None:
    before = await deployed.last_sequence()
    subject = subject_of("victim")
    async with spying(deployed.secrets, user) as spy:
        await spy.client.publish(subject, b"{}")
        assert await spy.is_refused("publish", subject)
        for call in ("STREAM.PURGE.STATE", "STREAM.DELETE.STATE", "STREAM.UPDATE.STATE"):
            await spy.client.publish(f"$JS.API.{call}", b"{}")
            assert await spy.is_refused("publish", f"$JS.API.{call}")
        await spy.client.publish("$JS.API.STREAM.MSG.DELETE.STATE", b'{"seq":1}')
        assert await spy.is_refused("publish", "$JS.API.STREAM.MSG.DELETE.STATE")
    assert await deployed.last_sequence() == before


@pytest.mark.parametrize("user", ["methods", "appender"])
async def test_a_service_cannot_read_the_log(deployed: Deployed, user: str) -> None:
    last = {"last_by_subj": "state._.clock"}
    async with spying(deployed.secrets, user) as spy:
        for call, body in (
            ("CONSUMER.CREATE.STATE.thief", {"stream_name": STREAM, "config": _CONSUMER}),
            ("CONSUMER.CREATE.STATE", {"stream_name": STREAM, "config": _CONSUMER}),
            ("CONSUMER.MSG.NEXT.STATE.webhooks", {"batch": 1}),
            ("DIRECT.GET.STATE", last),
            ("DIRECT.GET.STATE.state._.clock", {}),
            ("STREAM.MSG.GET.STATE", last),
            ("STREAM.INFO.STATE", {}),
        ):
            with pytest.raises(NatsError):
                await spy.client.request(
                    f"$JS.API.{call}", json.dumps(body).encode(), timeout=0.5 * PATIENCE
                )
            assert await spy.is_refused("publish", f"$JS.API.{call}")
        for subject in ("state.>", ">", "$JS.API.>", "$JS.ACK.>", "_INBOX.>", "_INBOX.gateway.>"):
            await spy.client.subscribe(subject)
            assert await spy.is_refused("subscription", subject)


async def test_an_appender_can_only_ask_for_an_append(deployed: Deployed) -> None:
    client = await deployed.client("carol")
    token = await deployed.append_token("carol")
    body = {"@type": "StateChange", "changed": {client.account_id: {"Email": "e1"}}}
    async with spying(deployed.secrets, "appender") as spy:
        answer = await spy.client.request(
            "tidings.append",
            json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}"},
            timeout=10 * PATIENCE,
        )
        assert list(json.loads(answer.data)) == ["cursor"], answer.data
        for subject in (
            "tidings.control",
            "tidings.jmap.request",
            "tidings.method.Todo.get",
            "$SRV.INFO",
            "_INBOX.gateway.x",
        ):
            await spy.client.publish(subject, b"{}")
            assert await spy.is_refused("publish", subject)
        for subject in ("tidings.append", "tidings.control", "tidings.jmap.request"):
            await spy.client.subscribe(subject)
            assert await spy.is_refused("subscription", subject)
    await client.http.aclose()


@pytest.mark.parametrize("user", ["operator", "console"])
async def test_operators_ask_the_gateways_and_follow_what_they_send(
    deployed: Deployed, user: str
) -> None:
    client = await deployed.client(f"erin-{user}")
    authorization = f"Authorization: Bearer {client.token}"
    wanted = ConnectionFilter(user=f"erin-{user}")
    async with open_bus(deployed.secrets.nats_url(user), name="test") as bus:
        operator = Gateways(bus, by=user)
        async with (
            await EventSourceClient.get(
                deployed.ports["gateway"], _EVENT_SOURCE, authorization
            ) as stream,
            operator.watching(wanted) as watching,
        ):
            begun = await anext(watching)
            assert isinstance(begun, Watched)
            assert begun.connections == 1
            for _ in range(30):  # more messages than questions
                await client.add_card(name={"full": "Erin"})
                assert (await stream.state())[1].keys() == {client.account_id}
                while not isinstance(told := await anext(watching), Watched) or not told.moments:
                    pass
            [facts] = (await operator.find(wanted)).connections
            assert (await operator.show(facts.id)).messages == facts.messages > 0
            assert (await operator.close(wanted)).connections == (facts.id,)
            assert (await stream.body()).endswith(b"0\r\n\r\n")
    assert not deployed.violations()
    await client.http.aclose()


@pytest.mark.parametrize("user", ["webhooks", "appender", "methods", "dispatcher", "gateway"])
async def test_no_other_may_ask_about_connections_or_close_them(
    deployed: Deployed, user: str
) -> None:
    async with spying(deployed.secrets, user) as spy:
        body = b'{"ask":"close","filter":{"transport":"sse"},"by":"me"}'
        await spy.client.publish("tidings.gateways.ask", body, reply=f"_INBOX.{user}.x")
        assert await spy.is_refused("publish", "tidings.gateways.ask")
        if user != "gateway":
            await spy.client.publish("tidings.gateways.here", b"me")
            assert await spy.is_refused("publish", "tidings.gateways.here")
            for subject in ("tidings.gateways.ask", "tidings.gateways.here", "tidings.gateways.>"):
                await spy.client.subscribe(subject)
                assert await spy.is_refused("subscription", subject)
        for inbox in ("_INBOX.console.x", "_INBOX.operator.x"):
            await spy.client.publish(inbox, b"an answer to nobody")
            assert await spy.is_refused("publish", inbox)


@pytest.mark.parametrize("user", ["gateway", "console"])
async def test_who_reads_the_log_cannot_take_the_deliverers_events(
    deployed: Deployed, user: str
) -> None:
    async with spying(deployed.secrets, user) as spy:
        assert (await spy.api("STREAM.INFO.STATE"))["config"]["name"] == STREAM
        for call in ("CONSUMER.CREATE.STATE.webhooks", "CONSUMER.MSG.NEXT.STATE.webhooks"):
            await spy.client.publish(f"$JS.API.{call}", b"{}")
            assert await spy.is_refused("publish", f"$JS.API.{call}")
        await spy.client.publish("$JS.API.CONSUMER.DELETE.STATE.webhooks", b"")
        assert await spy.is_refused("publish", "$JS.API.CONSUMER.DELETE.STATE.webhooks")
        await spy.client.subscribe("_INBOX.dispatcher.>")
        assert await spy.is_refused("subscription", "_INBOX.dispatcher.>")


async def test_a_method_service_is_found_called_and_appends_with_its_own_user(
    deployed: Deployed,
) -> None:
    dora = await deployed.client("dora")
    service = Program(
        (sys.executable, "-m", "examples.notes_python"),
        environment={
            "NOTES_NATS_URL": deployed.secrets.nats_url("methods"),
            "NOTES_POSTGRES_URL": deployed.postgres_url,
            "NOTES_TOKEN": await deployed.append_token("dora"),
        },
    )
    authorization = f"Authorization: Bearer {dora.token}"
    target = "/jmap/eventsource?types=Note&closeafter=no&ping=0"
    try:
        service.wait_for_line("notes are served")
        await appeared(dora, "urn:example:notes")
        async with await EventSourceClient.get(
            deployed.ports["gateway"], target, authorization
        ) as stream:
            await dora.call("Note/set", create={"k": {"title": "Milk", "body": "two"}})
            state = (await dora.call("Note/get"))["state"]
            assert (await stream.state())[1] == {dora.account_id: {"Note": state}}
    finally:
        service.close()
    assert "permissions violation" not in service.output().lower()
    assert not deployed.violations()
    await dora.http.aclose()


async def test_a_method_service_may_answer_a_call_once_and_no_more(deployed: Deployed) -> None:
    async with (
        spying(deployed.secrets, "methods") as service,
        spying(deployed.secrets, "dispatcher") as caller,
    ):
        asked: asyncio.Queue[str] = asyncio.Queue()

        async def answer(message: Any) -> None:
            await service.client.publish(message.reply, b"yes")
            await asked.put(message.reply)

        await service.client.subscribe("tidings.method.Todo.get", queue="todo", cb=answer)
        await service.client.flush()
        reply = await caller.client.request("tidings.method.Todo.get", b"{}", timeout=5 * PATIENCE)
        assert reply.data == b"yes"
        again = await asked.get()
        await service.client.publish(again, b"and again")
        assert await service.is_refused("publish", again)


def test_secrets_are_made_once_for_each_user_and_readable_by_their_owner_only(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "secrets"
    made = tidings("secrets", str(folder))
    assert made.returncode == 0, made.stderr
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == {f"{name}.env" for name in (*USERS, "nats", "postgres")} | {"secrets.json"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    passwords = list(msgspec.json.decode(first["secrets.json"])["nats"].values())
    assert len(set(passwords)) == len(passwords) == len(USERS) + 1
    for name in USERS:  # each knows its own password, and nobody else's
        known = [p for p in passwords if p.encode() in first[f"{name}.env"]]
        assert len(known) == 1
    wanted = set(
        re.findall(
            r"\$(NATS_\w+_PASSWORD)", (NATS_FILES / "access.conf").read_text(encoding="utf-8")
        )
    )
    assert wanted == {f"NATS_{name.upper()}_PASSWORD" for name in USERS}
    (folder / "gateway.env").unlink()
    assert tidings("secrets", str(folder)).returncode == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
    (folder / "secrets.json").write_text("{", encoding="utf-8")
    damaged = tidings("secrets", str(folder))
    assert damaged.returncode == 3
    assert "cannot be used" in damaged.stderr


@pytest.mark.parametrize("user", ["operator", "console"])
async def test_operators_explain_what_became_of_an_event(deployed: Deployed, user: str) -> None:
    client = await deployed.client(f"fay-{user}")
    authorization = f"Authorization: Bearer {client.token}"
    newest = ByAccount(account=client.account_id, type="ContactCard")
    question = Question(newest, AllOfUser(f"fay-{user}"))
    async with (
        open_pool(deployed.postgres_url, connections_max=2) as pool,
        open_bus(deployed.secrets.nats_url(user), name="test") as bus,
        await EventSourceClient.get(deployed.ports["gateway"], _EVENT_SOURCE, authorization) as it,
    ):
        await client.add_card(name={"full": "Fay"})
        while "ContactCard" not in (await it.state())[1][client.account_id]:
            pass
        found = await explain(Resources(pool=pool, bus=bus, by=user), question)
        assert [verdict.reason for verdict in found.verdicts] == [Reason.TOLD]
    await client.http.aclose()
