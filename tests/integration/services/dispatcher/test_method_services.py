"""Method services over real NATS, PostgreSQL and HTTP: as good as the server's own methods."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from services.dispatcher.remote.settings import MethodServiceSettings
from shared.jmap.session import CORE
from shared.method_service.author import MethodFailedError
from shared.method_service.contract import ServiceDescription
from shared.runtime.trace_context import parse_traceparent
from tests.support.dispatcher import CONTACTS, JmapClient
from tests.support.eventually import PATIENCE, eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.method_services import (
    SHELF_SERVICE,
    SHELVES,
    Shelves,
    appeared,
    disappeared,
    session_of,
    shelves_running,
)
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

SETTINGS = MethodServiceSettings(timeout_seconds=2 * PATIENCE, calls_max=4)


@pytest.fixture
async def running(clean_nats_url: str, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    async with everything_running(
        clean_nats_url, postgres_dsn, method_services=SETTINGS
    ) as everything:
        yield everything


@pytest.fixture
async def client(running: RunningEverything) -> JmapClient:
    return (await running.user("ada"))[0]


async def metric(client: JmapClient, start: str) -> float:
    text = (await client.http.get("/metrics")).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if start in line)


async def test_a_service_appears_in_the_session_and_disappears_with_its_last_instance(
    client: JmapClient, clean_nats_url: str
) -> None:
    before = await session_of(client)
    shelves = Shelves()
    async with shelves_running(clean_nats_url, shelves):
        async with shelves_running(clean_nats_url, shelves):
            session = await appeared(client)
            assert session["capabilities"][SHELVES] == {"maxShelves": 10}
            [account] = session["accounts"].values()
            assert account["accountCapabilities"][SHELVES] == {"mayAdd": True}
            assert session["primaryAccounts"][SHELVES] == client.account_id
            assert session["state"] != before["state"]
            await eventually(lambda: metric_is(client, 2))
            body = await client.request(["Shelf/get", {"accountId": client.account_id}, "0"])
            assert body["sessionState"] == session["state"]
        await eventually(lambda: metric_is(client, 1))
        assert SHELVES in (await session_of(client))["capabilities"]
    await disappeared(client)
    assert (await session_of(client))["state"] == before["state"]
    answer = await client.post({"using": [SHELVES], "methodCalls": []})
    assert answer.json()["type"] == "urn:ietf:params:jmap:error:unknownCapability"


async def metric_is(client: JmapClient, count: float) -> bool:
    return await metric(client, 'tidings_service_instances{service="urn_example_shelves"}') == count


async def test_a_call_has_the_contracts_shape(client: JmapClient, clean_nats_url: str) -> None:
    shelves = Shelves()
    async with shelves_running(clean_nats_url, shelves):
        await appeared(client)
        await client.request(
            ["Shelf/get", {"accountId": client.account_id, "ids": ["x"]}, "call 7"],
            created_ids={"k": "b1"},
        )
    [call] = shelves.calls
    assert parse_traceparent(call.traceparent) is not None
    assert msgspec.to_builtins(call) == {
        "version": 1,
        "timeout": SETTINGS.timeout_seconds * 1000,
        "traceparent": call.traceparent,
        "method": "Shelf/get",
        "arguments": {"accountId": client.account_id, "ids": ["x"]},
        "callId": "call 7",
        "using": sorted((CORE, CONTACTS, SHELVES)),
        "principal": {
            "id": call.principal.id,
            "accounts": {client.account_id: {"readOnly": False}},
        },
        "createdIds": {"k": "b1"},
    }


async def test_a_method_needs_its_capability_in_using(
    client: JmapClient, clean_nats_url: str
) -> None:
    async with shelves_running(clean_nats_url, Shelves()):
        await appeared(client)
        client.using = (CORE, CONTACTS)
        assert (await client.error("Shelf/get"))["type"] == "unknownMethod"
        client.using = (CORE, SHELVES)
        assert (await client.error("Shelf/burn"))["type"] == "unknownMethod"
        assert (await client.call("Shelf/get"))["list"] == []


async def test_references_and_creation_ids_cross_between_local_and_remote_calls(
    client: JmapClient, clean_nats_url: str
) -> None:
    async with shelves_running(clean_nats_url, Shelves()):
        await appeared(client)
        account = {"accountId": client.account_id}
        book = await client.address_book()
        card = {"addressBookIds": {book: True}}
        all_shelves = {"resultOf": "g", "name": "Shelf/get", "path": "/list/*/cardId"}
        body = await client.request(
            ["ContactCard/set", {**account, "create": {"c": card}}, "local"],
            ["Shelf/set", {**account, "create": {"s": {"name": "A", "cardId": "#c"}}}, "remote"],
            ["Shelf/get", {**account, "ids": ["#s"]}, "g"],
            ["ContactCard/get", {**account, "#ids": all_shelves, "properties": ["id"]}, "back"],
            [
                "ContactCard/set",
                {**account, "create": {"d": {**card, "notes": {"n": {"note": "x"}}}}},
                "again",
            ],
            created_ids={},
        )
        answers = {answer[2]: answer[1] for answer in body["methodResponses"]}
        card_id = answers["local"]["created"]["c"]["id"]
        shelf_id = answers["remote"]["created"]["s"]["id"]
        assert answers["g"]["list"] == [{"id": shelf_id, "name": "A", "cardId": card_id}]
        assert answers["back"]["list"] == [{"id": card_id}]
        assert body["createdIds"].keys() == {"c", "s", "d"}
        assert body["createdIds"]["s"] == shelf_id

        ids = {"resultOf": "q", "name": "ContactCard/query", "path": "/ids"}
        [_, found] = (
            await client.request(
                ["ContactCard/query", account, "q"],
                ["Shelf/get", {**account, "#ids": ids}, "r"],
            )
        )["methodResponses"]
        assert sorted(found[1]["notFound"]) == sorted([card_id, body["createdIds"]["d"]])


async def test_a_remote_change_is_pushed_and_kept_before_the_answer(
    running: RunningEverything, client: JmapClient, clean_nats_url: str
) -> None:
    async with (
        shelves_running(clean_nats_url, Shelves()),
        await EventSourceClient.get(
            running.port,
            "/jmap/eventsource?types=Shelf&closeafter=no&ping=0",
            f"Authorization: Bearer {client.token}",
        ) as source,
    ):
        await appeared(client)
        answer = await client.call("Shelf/set", create={"s": {"name": "A"}})
        # Nothing waits here: it was in the log already.
        row = await running.everything.pool.fetchrow(
            "SELECT state, published_at FROM outbox JOIN type_states USING (account_id)"
            " WHERE type = 'Shelf' AND states ? 'Shelf'"
        )
        assert row is not None
        assert row["state"] == answer["newState"]
        _, changed = await source.state()
        assert changed == {client.account_id: {"Shelf": answer["newState"]}}
        cursor, _ = await _next_change(client, source)
    async with (
        shelves_running(clean_nats_url, Shelves()),
        await EventSourceClient.get(
            running.port,
            "/jmap/eventsource?types=*&closeafter=state&ping=0",
            f"Authorization: Bearer {client.token}",
            "Last-Event-ID: unknown",
        ) as source,
    ):
        assert (await source.state())[1][client.account_id]["Shelf"] == "v2"
    assert cursor


async def _next_change(
    client: JmapClient, source: EventSourceClient
) -> tuple[str, dict[str, dict[str, str]]]:
    await client.call("Shelf/set", create={"s": {"name": "B"}})
    return await source.state()


async def test_errors_of_a_service_are_method_errors(
    client: JmapClient, clean_nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    shelves = Shelves()
    shelves.go_on.set()

    async def bug(_: Any) -> Any:
        raise ZeroDivisionError("a secret of the service")

    shelves.get = bug  # type: ignore[assignment,method-assign]
    async with shelves_running(clean_nats_url, shelves):
        await appeared(client)
        error = await client.error("Shelf/wait", fails=True)
        assert error == {"type": "tooManyShelves", "description": "There is no room."}
        with caplog.at_level(logging.ERROR):
            error = await client.error("Shelf/get")
        assert error["type"] == "serverFail"
        assert "secret" not in str(error)
        [record] = [item for item in caplog.records if item.message == "method_service_answer_bad"]
        assert vars(record)["fault_id"] in error["description"]
        assert (await client.error("Shelf/get", accountId="a-other"))["type"] == "accountNotFound"
        many = {f"k{number}": {"name": "x"} for number in range(501)}
        assert (await client.error("Shelf/set", create=many))["type"] == "requestTooLarge"
        many_ids = [f"k{number}" for number in range(501)]
        assert (await client.error("Shelf/get", ids=many_ids))["type"] == "requestTooLarge"
    assert isinstance(MethodFailedError("x"), Exception)


async def test_who_may_only_read_reads(
    running: RunningEverything, client: JmapClient, clean_nats_url: str
) -> None:
    shared = await running.account("shared")
    await running.grant(shared, "ada")
    async with shelves_running(clean_nats_url, Shelves()):
        await appeared(client)
        assert (await client.call("Shelf/get", accountId=shared))["list"] == []
        error = await client.error("Shelf/set", accountId=shared, create={"s": {"name": "A"}})
        assert error["type"] == "accountReadOnly"


async def test_a_service_that_does_not_answer_is_given_up_and_told(
    client: JmapClient, clean_nats_url: str
) -> None:
    """serverPartialFail where something may have changed (RFC 8620 section 3.6.2)."""
    shelves = Shelves()
    async with shelves_running(clean_nats_url, shelves):
        await appeared(client)
        error = await client.error("Shelf/set", slow=True, create={"s": {"name": "A"}})
        assert error["type"] == "serverPartialFail"
        error = await client.error("Shelf/wait")
        assert error["type"] == "serverPartialFail"
        await eventually(lambda: shelves.cancelled == 1)
        assert shelves.waiting == 0


async def test_a_client_that_goes_away_cancels_its_call(
    client: JmapClient, clean_nats_url: str
) -> None:
    shelves = Shelves()
    async with shelves_running(clean_nats_url, shelves):
        await appeared(client)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.call("Shelf/wait")
        await eventually(lambda: shelves.cancelled == 1, seconds=1)


async def test_calls_of_a_service_are_limited_and_hold_no_others(
    running: RunningEverything, client: JmapClient, clean_nats_url: str
) -> None:
    shelves = Shelves()
    users = [client, *[(await running.user(f"u{number}"))[0] for number in range(2)]]
    async with shelves_running(clean_nats_url, shelves):
        for user in users:
            await appeared(user)
        async with asyncio.TaskGroup() as tasks:
            held = [
                tasks.create_task(user.call("Shelf/wait")) for user in users[:2] for _ in range(2)
            ]
            await eventually(lambda: shelves.waiting == SETTINGS.calls_max)
            error = await users[2].error("Shelf/get")
            assert error["type"] == "serverUnavailable"
            for _ in range(20):
                assert await users[2].call("AddressBook/get")
            assert shelves.waiting == SETTINGS.calls_max
            shelves.go_on.set()
        assert [task.result() for task in held] == [{"waited": True}] * SETTINGS.calls_max
        assert (await users[2].call("Shelf/get"))["list"] == []
        calls = 'tidings_service_calls_total{outcome="ok",service="urn_example_shelves"}'
        assert await metric(client, calls) == SETTINGS.calls_max + 1


async def test_two_instances_share_the_load(client: JmapClient, clean_nats_url: str) -> None:
    first, second = Shelves(), Shelves()
    async with (
        shelves_running(clean_nats_url, first),
        shelves_running(clean_nats_url, second),
    ):
        await appeared(client)
        await eventually(lambda: metric_is(client, 2))
        for _ in range(40):
            await client.call("Shelf/get")
    assert len(first.calls) + len(second.calls) == 40
    assert min(len(first.calls), len(second.calls)) >= 5


async def test_what_the_server_or_another_service_has_is_refused(
    client: JmapClient, clean_nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with shelves_running(clean_nats_url, Shelves()):
        await appeared(client)
        rivals = [
            ServiceDescription(capability=CONTACTS, version="9.0.0", types={"Evil": ("get",)}),
            ServiceDescription(
                capability="urn:example:evil", version="1.0.0", types={"ContactCard": ("get",)}
            ),
            ServiceDescription(
                capability="urn:example:a", version="1.0.0", types={"Shelf": ("get",)}
            ),
        ]
        before = await session_of(client)
        with caplog.at_level(logging.WARNING):
            for rival in rivals:
                async with shelves_running(clean_nats_url, Shelves(), rival):
                    await eventually(lambda: any(_refused(caplog, rival.capability)))  # noqa: B023
        assert await session_of(client) == before
        assert (await client.call("Shelf/get"))["list"] == []


def _refused(caplog: pytest.LogCaptureFixture, capability: str) -> list[str]:
    return [
        item.message
        for item in caplog.records
        if item.message == "method_service_refused" and capability in vars(item)["reason"]
    ]


async def test_the_newest_version_speaks_for_all(client: JmapClient, clean_nats_url: str) -> None:
    newer = msgspec.structs.replace(SHELF_SERVICE, version="1.10.0", session={"maxShelves": 20})
    older = msgspec.structs.replace(SHELF_SERVICE, version="1.9.0", session={"maxShelves": 15})

    async def shelves_max(count: int) -> bool:
        session = await session_of(client)
        return bool(session["capabilities"][SHELVES]["maxShelves"] == count)

    async with shelves_running(clean_nats_url, Shelves(), older):
        await appeared(client)
        async with shelves_running(clean_nats_url, Shelves(), newer):
            await eventually(lambda: shelves_max(20))
        await eventually(lambda: shelves_max(15))
