"""RFC 8887 over a real socket; the numbers are those of the project's checklist."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from services.gateway.settings import GatewaySettings
from services.gateway.websocket_messages import MessageError, RequestMessage
from shared.store.credentials import Credential
from tests.support.eventually import eventually
from tests.support.gateway import (
    AUTHORIZATION,
    GatewayOfTest,
    credential_of,
    echo,
    gateway_running,
)
from tests.support.websocket import ACCEPT, HANDSHAKE, OFFER, WebSocketClient
from tests.support.websocket_talk import DISABLE, ENABLE, asking, connect, listening, state_change

pytestmark = pytest.mark.integration


@pytest.fixture
async def gateway() -> AsyncIterator[GatewayOfTest]:
    settings = GatewaySettings(websocket_message_bytes_max=100_000, origins=("https://ours.test",))
    async with gateway_running(settings) as running:
        yield running


async def test_w02_the_handshake_is_authenticated(gateway: GatewayOfTest) -> None:
    async with await WebSocketClient.connect(gateway.port) as client:
        assert client.status == 401
    gateway.tickets["once"] = credential_of("anna")
    target = "/jmap/ws?ticket=once"
    async with await WebSocketClient.connect(gateway.port, target=target) as client:
        assert client.status == 101
    async with await WebSocketClient.connect(gateway.port, target=target) as client:
        assert client.status == 401


async def test_w03_the_subprotocol_jmap_is_agreed(gateway: GatewayOfTest) -> None:
    async with await connect(gateway) as client:
        assert client.status == 101
        assert client.headers["sec-websocket-protocol"] == "jmap"
        assert client.headers["sec-websocket-accept"] == ACCEPT
        assert "sec-websocket-extensions" not in client.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (HANDSHAKE, 400),
        ((*HANDSHAKE, "Sec-WebSocket-Protocol: chat"), 400),
        ((OFFER,), 426),
        (("Connection: Upgrade", "Upgrade: h2c", OFFER), 426),
        ((*HANDSHAKE[:2], "Sec-WebSocket-Version: 8", HANDSHAKE[3], OFFER), 426),
        ((*HANDSHAKE[:3], OFFER), 400),
        ((*HANDSHAKE[:3], "Sec-WebSocket-Key: short", OFFER), 400),
    ],
)
async def test_w03_any_other_handshake_is_refused(
    gateway: GatewayOfTest, headers: tuple[str, ...], status: int
) -> None:
    client = await WebSocketClient.handshake(gateway.port, AUTHORIZATION, *headers)
    async with client:
        assert client.status == status
        assert client.headers["content-type"] == "application/problem+json"
    assert len(gateway.connections) == 0


async def test_w03_the_subprotocol_may_be_one_of_several(gateway: GatewayOfTest) -> None:
    client = await WebSocketClient.handshake(
        gateway.port, AUTHORIZATION, *HANDSHAKE, "Sec-WebSocket-Protocol: chat, jmap"
    )
    async with client:
        assert client.headers["sec-websocket-protocol"] == "jmap"


async def test_w04_fragments_are_joined_before_they_are_read(gateway: GatewayOfTest) -> None:
    body = json.dumps(asking("R1", text="ä€😀")).encode()
    async with await connect(gateway) as client:
        client.framing.send_text(body[:60], fin=False)
        client.flush()
        client.framing.send_ping(b"between")
        client.flush()
        client.framing.send_continuation(body[60:61], fin=False)
        client.framing.send_continuation(body[61:], fin=True)
        client.flush()

        pong = await client.frame()
        assert bytes(pong.data) == b"between"
        assert (await client.message())["requestId"] == "R1"


@pytest.mark.parametrize(
    "body", [b"The quick brown fox jumps\n over the lazy dog.", b'{"@type":"Request"', b""]
)
async def test_w05_w10_what_is_not_json_gets_a_request_error(
    gateway: GatewayOfTest, body: bytes
) -> None:
    async with await connect(gateway) as client:
        client.send_text(body)

        error = await client.message()
        assert error["@type"] == "RequestError"
        assert error["requestId"] is None
        assert error["type"] == "urn:ietf:params:jmap:error:notJSON"
        assert error["status"] == 400
        client.send(asking("R1"))
        assert (await client.message())["requestId"] == "R1", "the connection goes on"


async def test_w05_w10_an_unknown_message_gets_a_request_error_with_its_id(
    gateway: GatewayOfTest,
) -> None:
    async with await connect(gateway) as client:
        client.send({"@type": "Nonsense", "id": "R7"})

        error = await client.message()
        assert (error["@type"], error["requestId"]) == ("RequestError", "R7")
        assert error["type"] == "urn:ietf:params:jmap:error:notRequest"


async def test_w06_a_binary_frame_closes_with_1003(gateway: GatewayOfTest) -> None:
    async with await connect(gateway) as client:
        client.framing.send_binary(b"{}")
        client.flush()

        assert await client.close_code() == 1003
    await eventually(lambda: gateway.connections.ended["websocket", "protocol"] == 1)


async def test_w07_a_request_level_error_is_a_request_error(gateway: GatewayOfTest) -> None:
    async def refuse(holder: Credential, request: RequestMessage) -> bytes:
        del holder
        raise MessageError(
            "urn:ietf:params:jmap:error:unknownCapability", "x", request_id=request.id
        )

    gateway.answer = refuse
    async with await connect(gateway) as client:
        client.send(asking("R1"))

        error = await client.message()
        assert (error["@type"], error["requestId"]) == ("RequestError", "R1")


async def test_w08_w09_requests_run_beside_each_other_and_may_overtake(
    gateway: GatewayOfTest,
) -> None:
    may_answer = asyncio.Event()

    async def slow_first(holder: Credential, request: RequestMessage) -> bytes:
        if request.id == "slow":
            await may_answer.wait()
        return await echo(holder, request)

    gateway.answer = slow_first
    async with await connect(gateway) as client:
        client.send(asking("slow", a=1))
        client.send(asking("fast", a=2))
        client.send(asking(a=3))

        answers = [await client.message(), await client.message()]
        assert [answer["@type"] for answer in answers] == ["Response", "Response"]
        assert [answer.get("requestId") for answer in answers] == ["fast", None]
        assert answers[0]["methodResponses"] == [["Core/echo", {"a": 2}, "c1"]]
        may_answer.set()
        assert (await client.message())["requestId"] == "slow"


async def test_w08_more_than_max_concurrent_requests_are_refused(gateway: GatewayOfTest) -> None:
    may_answer = asyncio.Event()

    async def wait(holder: Credential, request: RequestMessage) -> bytes:
        await may_answer.wait()
        return await echo(holder, request)

    gateway.answer = wait
    async with await connect(gateway) as client:
        for number in range(5):
            client.send(asking(f"R{number}"))

        error = await client.message()
        assert (error["@type"], error["requestId"]) == ("RequestError", "R4")
        assert error["type"] == "urn:ietf:params:jmap:error:limit"
        assert error["limit"] == "maxConcurrentRequests"
        may_answer.set()
        answered = {(await client.message())["requestId"] for _ in range(4)}
        assert answered == {"R0", "R1", "R2", "R3"}


async def test_a_slow_request_never_holds_up_pushes(gateway: GatewayOfTest) -> None:
    async def never(holder: Credential, request: RequestMessage) -> bytes:
        await asyncio.Event().wait()
        return await echo(holder, request)

    gateway.answer = never
    async with await connect(gateway) as client:
        await listening(gateway, client)
        for number in range(4):
            client.send(asking(f"R{number}"))
        gateway.fan_out.append("a1", Email="s1")

        assert await client.message() == state_change("m.1", a1={"Email": "s1"})


async def test_a_bug_of_an_answer_is_told_and_ends_nothing(gateway: GatewayOfTest) -> None:
    async def broken(holder: Credential, request: RequestMessage) -> bytes:
        raise ZeroDivisionError((holder, request))

    gateway.answer = broken
    async with await connect(gateway) as client:
        client.send(asking("R1"))

        assert (await client.message())["type"] == "urn:ietf:params:jmap:error:serverFail"
        gateway.answer = echo
        client.send(asking("R2"))
        assert (await client.message())["requestId"] == "R2"


async def test_w11_w12_pushes_come_once_enabled_and_carry_a_push_state(
    gateway: GatewayOfTest,
) -> None:
    async with await connect(gateway) as client:
        gateway.fan_out.append("a1", Email="s1")
        assert await client.hears_nothing(0.2)
        await listening(gateway, client)
        gateway.fan_out.append("a1", Email="s2")
        gateway.fan_out.append("secret", Email="s3")

        assert await client.message() == state_change("m.2", a1={"Email": "s2"})


async def test_w12_push_starts_when_it_is_enabled_though_the_log_cannot_be_read_yet(
    gateway: GatewayOfTest,
) -> None:
    """A client may ask for the states right behind it, and miss nothing after the answer."""
    gateway.fan_out.append("a1", Email="s1")
    gateway.fan_out.delay = asyncio.Event()
    async with await connect(gateway) as client:
        client.send(ENABLE)
        client.send(asking("r1"))
        assert (await client.message())["requestId"] == "r1"
        cursor = gateway.fan_out.append("a1", Email="s2")
        gateway.fan_out.delay.set()
        assert await client.message() == state_change(cursor, a1={"Email": "s2"})


async def test_w12_only_the_types_asked_for_are_pushed_unknown_ones_never_change(
    gateway: GatewayOfTest,
) -> None:
    async with await connect(gateway) as client:
        await listening(gateway, client, dataTypes=["Email", "NoSuchType"])
        gateway.fan_out.append("a1", Thread="s1")
        gateway.fan_out.append("a1", Thread="s2", Email="s2")

        assert await client.message() == state_change("m.2", a1={"Email": "s2"})


async def test_w12_a_push_state_gets_what_was_missed(gateway: GatewayOfTest) -> None:
    since = gateway.fan_out.append("a1", Email="s1")
    gateway.fan_out.append("a1", Email="s2")
    gateway.fan_out.append("a2", Thread="s3")
    async with await connect(gateway) as client:
        client.send({**ENABLE, "pushState": since})

        assert await client.message() == state_change(
            "m.3", a1={"Email": "s2"}, a2={"Thread": "s3"}
        )
        client.send({**ENABLE, "pushState": "garbage"})
        assert await client.message() == state_change(
            "m.3", a1={"Email": "s2"}, a2={"Thread": "s3"}
        )


async def test_w12_w13_push_is_enabled_and_disabled_any_number_of_times(
    gateway: GatewayOfTest,
) -> None:
    async with await connect(gateway) as client:
        for number in range(5):
            await listening(gateway, client)
            cursor = gateway.fan_out.append("a1", Email=f"on{number}")
            assert await client.message() == state_change(cursor, a1={"Email": f"on{number}"})
            client.send(DISABLE)
            await eventually(lambda: gateway.fan_out.listeners == 0)
            gateway.fan_out.append("a1", Email=f"off{number}")
        assert await client.hears_nothing(0.1)


async def test_w12_a_later_enable_replaces_the_types_and_loses_nothing(
    gateway: GatewayOfTest,
) -> None:
    async with await connect(gateway) as client:
        await listening(gateway, client, dataTypes=["Email"])
        gateway.fan_out.append("a1", Email="s1")
        await client.message()
        await listening(gateway, client, dataTypes=["Thread"])
        gateway.fan_out.append("a1", Email="s2")
        gateway.fan_out.append("a1", Thread="s3")

        assert await client.message() == state_change("m.3", a1={"Thread": "s3"})


async def test_w12_enables_in_a_row_end_as_the_last_one(gateway: GatewayOfTest) -> None:
    async with await connect(gateway) as client:
        for number in range(50):
            client.send({**ENABLE, "dataTypes": [f"T{number}"]})
            client.send(DISABLE)
        client.send({**ENABLE, "dataTypes": ["Email"]})
        client.send(asking("R1"))
        await client.message()
        await eventually(lambda: gateway.fan_out.listeners == 1)
        gateway.fan_out.append("a1", Email="s1", T49="s1")

        assert await client.message() == state_change("m.1", a1={"Email": "s1"})
