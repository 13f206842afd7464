"""Requests of a WebSocket on their way over NATS to a real dispatcher, and back."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg

from services.gateway.forwarding import Forwarding
from services.gateway.websocket_messages import MessageError, RequestMessage
from shared.bus.connection import Bus, open_bus
from shared.http.forwarded import FORWARD_SUBJECT, ForwardedAnswer, encode_forwarded
from shared.runtime.clock import SystemClock
from shared.runtime.traces import Traces
from shared.store.migrate import migrate
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.gateway import credential_of
from tests.support.push_subscriptions import push_get
from tests.support.servers import NatsServer, PostgresServer
from tests.support.websocket import WebSocketClient

pytestmark = pytest.mark.integration

USING = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:contacts"]


@pytest.fixture
async def running(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    async with everything_running(fresh_nats.url, postgres_dsn) as everything:
        yield everything


def forwarding(bus: Bus) -> Forwarding:
    return Forwarding(bus, Traces(), SystemClock(), per_user_max=4)


async def connect(running: RunningEverything, client: JmapClient) -> WebSocketClient:
    return await WebSocketClient.connect(running.port, f"Authorization: Bearer {client.token}")


def asking(id_: str, *calls: list[Any], using: list[str] | None = None) -> dict[str, Any]:
    return {"@type": "Request", "id": id_, "using": using or USING, "methodCalls": list(calls)}


async def test_w08_w09_a_request_is_answered_as_over_http(running: RunningEverything) -> None:
    client, _ = await running.user("anna")
    call = ["ContactCard/get", {"accountId": client.account_id, "ids": None}, "c0"]
    over_http = await client.request(call)
    async with await connect(running, client) as socket:
        socket.send(asking("R1", call))

        assert await socket.message() == {"@type": "Response", "requestId": "R1", **over_http}


async def test_p05_a_client_sees_its_own_change_pushed(running: RunningEverything) -> None:
    client, _ = await running.user("anna")
    book = await client.address_book()
    async with await connect(running, client) as socket:
        socket.send({"@type": "WebSocketPushEnable", "dataTypes": ["ContactCard"]})
        card = {"addressBookIds": {book: True}, "name": {"full": "Ada"}}
        create = {"accountId": client.account_id, "create": {"k": card}}
        socket.send(asking("R1", ["ContactCard/set", create, "c0"]))

        both = [await socket.message(), await socket.message()]
        messages = {message["@type"]: message for message in both}
        [[_, result, _]] = messages["Response"]["methodResponses"]
        assert messages["StateChange"]["changed"] == {
            client.account_id: {"ContactCard": result["newState"]}
        }
        assert messages["StateChange"]["pushState"]


async def test_a_push_subscription_belongs_to_the_sockets_credential(
    running: RunningEverything,
) -> None:
    """P-20: over either transport it is the same one."""
    client, _ = await running.user("anna")
    given = {"deviceClientId": "d", "url": "https://127.0.0.1:1/push"}
    async with await connect(running, client) as socket:
        socket.send(asking("R1", ["PushSubscription/set", {"create": {"k": given}}, "c0"]))
        [[_, result, _]] = (await socket.message())["methodResponses"]

    [found] = (await push_get(client))["list"]
    assert found["id"] == result["created"]["k"]["id"]


@pytest.mark.parametrize(
    ("using", "calls", "type_"),
    [
        (["urn:example:unknown"], [], "unknownCapability"),
        (USING, ["nonsense"], "notRequest"),
        (USING, [["Core/echo", {}, str(n)] for n in range(17)], "limit"),
    ],
)
async def test_w07_request_level_errors_are_those_of_http(
    running: RunningEverything, using: list[str], calls: list[Any], type_: str
) -> None:
    client, _ = await running.user("anna")
    async with await connect(running, client) as socket:
        socket.send({"@type": "Request", "id": "R1", "using": using, "methodCalls": calls})

        error = await socket.message()
        assert (error["@type"], error["requestId"]) == ("RequestError", "R1")
        assert error["type"] == f"urn:ietf:params:jmap:error:{type_}"


async def test_a_duplicate_member_is_no_i_json(running: RunningEverything) -> None:
    client, _ = await running.user("anna")
    async with await connect(running, client) as socket:
        socket.send_text(b'{"@type":"Request","id":"R1","using":[],"using":[],"methodCalls":[]}')

        error = await socket.message()
        assert error["type"] == "urn:ietf:params:jmap:error:notJSON"
        assert error["requestId"] == "R1"


async def test_without_a_dispatcher_it_is_told_at_once(fresh_nats: NatsServer) -> None:
    async with open_bus(fresh_nats.url, name="test") as bus:
        start = time.monotonic()
        with pytest.raises(MessageError) as failed:
            await forwarding(bus)(credential_of("anna"), RequestMessage("R1", b"{}"))

    assert time.monotonic() - start < 2
    assert failed.value.type == "urn:ietf:params:jmap:error:serverUnavailable"
    assert (failed.value.status, failed.value.request_id) == (503, "R1")


async def test_w08_the_requests_of_all_sockets_of_a_user_are_counted_together(
    fresh_nats: NatsServer,
) -> None:
    """RFC 8620 section 2, maxConcurrentRequests; another user is not held up."""
    held: list[Msg] = []
    async with open_bus(fresh_nats.url, name="test") as bus, asyncio.TaskGroup() as tasks:

        async def hold(message: Msg) -> None:
            held.append(message)

        await bus.client.subscribe(FORWARD_SUBJECT, cb=hold)
        forward = forwarding(bus)
        anna, boris = credential_of("anna"), credential_of("boris")
        ask = [(anna, f"R{n}") for n in range(4)] + [(boris, "B0")]
        asked = [tasks.create_task(forward(who, RequestMessage(id_, b"{}"))) for who, id_ in ask]
        await eventually(lambda: len(held) == len(ask))
        with pytest.raises(MessageError) as refused:
            await forward(anna, RequestMessage("R4", b"{}"))
        answer = encode_forwarded(ForwardedAnswer(status=200, body=msgspec.Raw(b"{}")))
        for message in held:
            await bus.publish(message.reply, answer)
        await asyncio.wait(asked)
        held.clear()
        again = tasks.create_task(forward(anna, RequestMessage("R5", b"{}")))
        await eventually(lambda: held)
        await bus.publish(held[0].reply, answer)
        assert b"R5" in await again

    assert (refused.value.limit, refused.value.request_id) == ("maxConcurrentRequests", "R4")


async def test_what_nats_would_not_carry_is_refused_with_the_limit(fresh_nats: NatsServer) -> None:
    body = b'{"text":"' + b"x" * (17 << 20) + b'"}'
    async with open_bus(fresh_nats.url, name="test") as bus:
        with pytest.raises(MessageError) as failed:
            await forwarding(bus)(credential_of("anna"), RequestMessage("R1", body))

    assert failed.value.limit == "maxSizeRequest"


async def test_without_the_database_a_request_is_told_to_come_again(
    fresh_nats: NatsServer, fresh_postgres: PostgresServer
) -> None:
    await migrate(fresh_postgres.dsn)
    async with everything_running(fresh_nats.url, fresh_postgres.dsn) as running:
        client, _ = await running.user("anna")
        async with await connect(running, client) as socket:
            fresh_postgres.stop()

            async def refusal() -> Any:  # what was remembered of the user is used for a while
                socket.send(asking("R1", ["Core/echo", {}, "c0"]))
                message = await socket.message()
                return message if message["@type"] == "RequestError" else None

            error = await eventually(refusal)
            fresh_postgres.start()
        assert (error["status"], error["requestId"]) == (503, "R1")
