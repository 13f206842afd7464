"""A service may answer anything at any time: the dispatcher, its users and its log stay whole."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.msg import Msg

from services.dispatcher.remote.settings import MethodServiceSettings
from shared.bus.jetstream import JetStream
from shared.jmap.i_json import encode_json
from shared.log.subjects import STREAM
from shared.method_service.contract import ServiceDescription
from tests.support.dispatcher import JmapClient
from tests.support.eventually import PATIENCE, eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.method_services import (
    SHELVES,
    Shelves,
    appeared,
    info_of,
    raw_service_running,
    session_of,
    shelves_running,
)
from tests.support.servers import NatsServer
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

EVIL = ServiceDescription(
    capability="urn:example:evil", version="1.0.0", types={"Evil": ("get", "set")}
)
SETTINGS = MethodServiceSettings(timeout_seconds=1 * PATIENCE, answer_octets_max=100_000)
Respond = Callable[[Msg], Awaitable[None]]


class Evil:
    """Answers what a test tells it."""

    def __init__(self) -> None:
        self.body = b""
        self.headers: dict[str, str] | None = None
        self.seconds = 0.0
        self.calls = 0
        self.cancels: list[str] = []

    async def respond(self, message: Msg) -> None:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        await message._client.publish(message.reply, self.body, headers=self.headers)


@asynccontextmanager
async def evil_running(nats_url: str, evil: Evil) -> AsyncIterator[None]:
    methods: dict[str, Respond] = {"Evil/get": evil.respond, "Evil/set": evil.respond}
    async with raw_service_running(nats_url, info_of(EVIL), methods) as bus:

        async def hear(message: Msg) -> None:
            evil.cancels.append(message.data.decode())

        await bus.client.subscribe("tidings.cancel.urn_example_evil", cb=hear)
        yield


@pytest.fixture
async def running(clean_nats_url: str, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    async with everything_running(
        clean_nats_url, postgres_dsn, method_services=SETTINGS
    ) as everything:
        yield everything


@pytest.fixture
async def client(running: RunningEverything) -> JmapClient:
    return (await running.user("ada"))[0]


async def kept_states(running: RunningEverything) -> list[tuple[str, str]]:
    rows = await running.everything.pool.fetch(
        "SELECT type, state FROM type_states WHERE type <> 'AddressBook'"
    )
    return [tuple(row) for row in rows]


def answer(**members: Any) -> bytes:
    return encode_json({"name": "Evil/get", "arguments": {}, **members})


async def test_bad_answers_are_server_fail_with_a_fault_id_in_the_log(
    running: RunningEverything,
    client: JmapClient,
    clean_nats_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where the call may have changed something, serverPartialFail (RFC 8620 section 3.6.2)."""
    evil = Evil()
    ours = {client.account_id: {"Evil": ["e1", 1]}}
    bad: list[tuple[bytes, dict[str, str] | None]] = [
        (b"", None),
        (b"\x00\xff", None),
        (answer(name="ContactCard/get"), None),
        (answer(pad="x" * 200_000), None),
        (answer(changed={"a-other": {"Evil": ["e1", 1]}}), None),
        (answer(changed={client.account_id: {"ContactCard": ["s999", 999]}}), None),
        (answer(createdIds={"k": "stolen"}), None),
        (answer(changed=ours, version=2), None),
        (answer(changed=ours), {"Nats-Service-Error-Code": "500", "Nats-Service-Error": "x"}),
    ]
    async with evil_running(clean_nats_url, evil):
        await appeared(client, EVIL.capability)
        for evil.body, evil.headers in bad:
            caplog.clear()
            with caplog.at_level(logging.ERROR):
                body = await client.request(
                    ["Evil/get", {"accountId": client.account_id}, "0"],
                    ["AddressBook/get", {"accountId": client.account_id}, "1"],
                    created_ids={"k": "mine"},
                )
            [failed, fine] = body["methodResponses"]
            assert failed[1]["type"] == "serverFail", evil.body[:80]
            assert fine[0] == "AddressBook/get"
            assert body["createdIds"] == {"k": "mine"}
            [record] = [r for r in caplog.records if r.message == "method_service_answer_bad"]
            assert vars(record)["fault_id"] in failed[1]["description"]
        evil.body, evil.headers = b"", None
        assert (await client.error("Evil/set"))["type"] == "serverPartialFail"
        evil.headers = {"Nats-Service-Error-Code": "503", "Nats-Service-Error": "busy"}
        assert (await client.error("Evil/get"))["type"] == "serverUnavailable"
    assert await kept_states(running) == []


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)
_REPLY = st.fixed_dictionaries(
    {"name": st.sampled_from(["Evil/get", "error"]) | _ANYTHING},
    optional={
        "arguments": st.dictionaries(st.sampled_from(["type", "x"]), _ANYTHING),
        "createdIds": st.dictionaries(st.sampled_from(["k", "n"]), _ANYTHING),
        "changed": st.dictionaries(st.sampled_from(["ACCOUNT", "a"]), _ANYTHING) | _ANYTHING,
        "implicit": _ANYTHING,
    },
)


async def test_no_answer_at_all_breaks_a_request(
    running: RunningEverything, client: JmapClient, clean_nats_url: str
) -> None:
    evil = Evil()
    bodies: list[bytes] = []

    @settings(
        max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(st.binary(max_size=100) | _REPLY)
    def collect(reply: Any) -> None:
        body = reply if isinstance(reply, bytes) else encode_json(reply)
        bodies.append(body.replace(b"ACCOUNT", client.account_id.encode()))

    await asyncio.to_thread(collect)
    async with evil_running(clean_nats_url, evil):
        await appeared(client, EVIL.capability)
        for evil.body in bodies:
            response = await client.post(
                {
                    "using": list(client.using),
                    "methodCalls": [["Evil/get", {"accountId": client.account_id}, "0"]],
                    "createdIds": {"k": "mine"},
                }
            )
            assert response.status_code == 200, evil.body
            body = response.json()
            [(name, _, call_id)] = body["methodResponses"]
            assert name in ("Evil/get", "error")
            assert call_id == "0"
            assert body["createdIds"]["k"] == "mine"
        assert evil.calls == len(bodies)
    assert {name for name, _ in await kept_states(running)} <= {"Evil"}


async def test_an_answer_that_comes_too_late_still_tells_what_changed(
    running: RunningEverything, client: JmapClient, clean_nats_url: str
) -> None:
    evil = Evil()
    evil.seconds = SETTINGS.timeout_seconds + 0.5
    changed = {client.account_id: {"Evil": ["e5", 5]}}
    evil.body = encode_json({"name": "Evil/set", "arguments": {}, "changed": changed})
    async with (
        evil_running(clean_nats_url, evil),
        await EventSourceClient.get(
            running.port,
            "/jmap/eventsource?types=Evil&closeafter=no&ping=0",
            f"Authorization: Bearer {client.token}",
        ) as source,
    ):
        await appeared(client, EVIL.capability)
        assert (await client.error("Evil/set"))["type"] == "serverPartialFail"
        await eventually(lambda: len(evil.cancels) == 1)
        assert (await source.state())[1] == {client.account_id: {"Evil": "e5"}}
        evil.seconds = 0
        evil.body = encode_json(
            {
                "name": "Evil/set",
                "arguments": {"old": True},
                "changed": {client.account_id: {"Evil": ["e4", 4]}},
            }
        )
        assert await client.call("Evil/set") == {"old": True}
        assert await kept_states(running) == [("Evil", "e5")]


async def test_a_service_that_nobody_can_read_is_not_there(
    client: JmapClient, clean_nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = await session_of(client)
    infos = [
        info_of(EVIL, version="one"),
        info_of(EVIL, name="evil"),
        {"type": "io.nats.micro.v1.info_response"},
        info_of(EVIL, metadata={"tidings.capability": "urn:example:evil"}),
        {"type": "io.nats.micro.v1.info_response", "name": "other", "id": "1", "version": "1.0.0"},
    ]
    with caplog.at_level(logging.WARNING):
        for info in infos[:4]:
            caplog.clear()
            async with raw_service_running(clean_nats_url, info, {}):
                await eventually(
                    lambda: "method_service_unreadable" in [r.message for r in caplog.records]
                )
        async with (
            raw_service_running(clean_nats_url, infos[4], {}),
            shelves_running(clean_nats_url, Shelves()),
        ):
            await appeared(client)
    assert EVIL.capability not in (await session_of(client))["capabilities"]
    assert before["capabilities"].keys() == (await session_of(client))["capabilities"].keys() - {
        SHELVES
    }


async def test_a_restart_of_nats_forgets_no_service(
    fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    async with (
        everything_running(fresh_nats.url, postgres_dsn, method_services=SETTINGS) as running,
        shelves_running(fresh_nats.url, Shelves()),
    ):
        client = (await running.user("ada"))[0]
        session = await appeared(client)
        fresh_nats.kill()
        seen: set[str] = set()

        async def answers() -> bool:
            seen.add((await session_of(client))["state"])
            name, answer, _ = await client.answer("Shelf/get", {"accountId": client.account_id})
            if name == "error":
                assert answer["type"] == "serverUnavailable"
            return bool(name != "error")

        for _ in range(100):
            assert not await answers()
        fresh_nats.start()
        await eventually(answers, seconds=20)
        assert seen == {session["state"]}
        # The answer waited for the log no longer than it may, and the outbox has the change.
        answer = await client.call("Shelf/set", create={"s": {"name": "A"}})
        assert answer["newState"] == "v1"
        assert await kept_states(running) == [("Shelf", "v1")]


async def test_what_a_service_reports_while_the_log_is_away_is_told_later(
    running: RunningEverything, client: JmapClient, clean_nats_url: str
) -> None:
    """The answer goes out, the change is in the outbox, and the sweeper finds it."""
    pool = running.everything.pool
    async with shelves_running(clean_nats_url, Shelves()):
        await appeared(client)
        await JetStream(running.everything.bus).delete_stream(STREAM)
        answer = await client.call("Shelf/set", create={"s": {"name": "A"}})
        assert answer["newState"] == "v1"

        async def is_told() -> bool:
            query = "SELECT count(*) FROM outbox WHERE states ? 'Shelf' AND published_at NOTNULL"
            return bool(await pool.fetchval(query) == 1)

        await eventually(is_told, seconds=20)
