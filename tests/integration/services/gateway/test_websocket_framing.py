"""RFC 6455 framing, case by case as the Autobahn suite groups them, against the gateway's port."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator

import pytest

from services.gateway.settings import GatewaySettings
from tests.support.gateway import AUTHORIZATION, GatewayOfTest, gateway_running
from tests.support.websocket import WebSocketClient

pytestmark = pytest.mark.integration

MESSAGE_BYTES_MAX = 200_000
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@pytest.fixture
async def client() -> AsyncIterator[WebSocketClient]:
    settings = GatewaySettings(websocket_message_bytes_max=MESSAGE_BYTES_MAX)
    async with gateway_running(settings) as gateway, await connected(gateway) as connection:
        yield connection


async def connected(gateway: GatewayOfTest) -> WebSocketClient:
    return await WebSocketClient.connect(gateway.port, AUTHORIZATION)


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, reserved: int = 0, mask: bool = True
) -> bytes:
    """Any frame at all, also those that are against the rules."""
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    masked = 0x80 if mask else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, masked | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, masked | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, masked | 127, len(payload))
    if not mask:
        return head + payload
    key = b"\x37\xfa\x21\x3d"
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def echo(id_: str, text: str = "") -> bytes:
    calls = [["Core/echo", {"text": text}, "c"]]
    return json.dumps(
        {"@type": "Request", "id": id_, "using": [], "methodCalls": calls}, ensure_ascii=False
    ).encode()


async def answers(client: WebSocketClient, id_: str) -> str:
    message = await client.message()
    assert message["requestId"] == id_
    return str(message["methodResponses"][0][1]["text"])


@pytest.mark.parametrize("length", [0, 1, 20, 125, 126, 127, 65_400, 65_535, 65_536, 150_000])
async def test_1_messages_of_any_length(client: WebSocketClient, length: int) -> None:
    client.writer.write(frame(TEXT, echo("R1", "*" * length)))
    assert await answers(client, "R1") == "*" * length


@pytest.mark.parametrize("step", [1, 7, 997])
async def test_1_bytes_may_come_in_any_pieces(client: WebSocketClient, step: int) -> None:
    data = frame(TEXT, echo("R1", "chopped äöü €"))
    for start in range(0, len(data), step):
        client.writer.write(data[start : start + step])
        await asyncio.sleep(0)
    assert await answers(client, "R1") == "chopped äöü €"


@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff\xfe\xfd", b"p" * 125])
async def test_2_a_ping_is_answered_with_its_payload(
    client: WebSocketClient, payload: bytes
) -> None:
    client.writer.write(frame(PING, payload))
    pong = await client.frame()
    assert (pong.opcode.value, bytes(pong.data)) == (PONG, payload)


async def test_2_many_pings_are_answered_in_order(client: WebSocketClient) -> None:
    client.writer.write(b"".join(frame(PING, b"%d" % n) for n in range(10)))
    assert [bytes((await client.frame()).data) for _ in range(10)] == [b"%d" % n for n in range(10)]


async def test_2_an_unsolicited_pong_is_nothing(client: WebSocketClient) -> None:
    client.writer.write(frame(PONG, b"nobody asked") + frame(TEXT, echo("R1", "x")))
    assert await answers(client, "R1") == "x"


BROKEN = {
    "2.5 a ping of 126 octets": frame(PING, b"p" * 126),
    "3 reserved bits": frame(TEXT, b"{}", reserved=1),
    "3 reserved bits of a ping": frame(PING, b"", reserved=4),
    "4.1 a reserved data opcode": frame(3, b"{}"),
    "4.1 the last reserved data opcode": frame(7),
    "4.2 a reserved control opcode": frame(11),
    "4.2 the last reserved control opcode": frame(15, b"x"),
    "5.1 a fragmented ping": frame(PING, b"x", fin=False),
    "5.9 a continuation of nothing": frame(CONTINUATION, b"{}"),
    "5.18 a second start": frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
    "7.3 a close of one octet": frame(CLOSE, b"\x03"),
    "7.3 a close of 126 octets": frame(CLOSE, struct.pack("!H", 1000) + b"x" * 124),
    "a frame without a mask": frame(TEXT, b"{}", mask=False),
    **{
        f"7.9 a close with the code {code}": frame(CLOSE, struct.pack("!H", code))
        for code in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 65535)
    },
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_against_the_rules_closes_with_1002(
    client: WebSocketClient, data: bytes
) -> None:
    client.writer.write(data)
    assert await client.close_code() == 1002


async def test_5_a_message_in_many_fragments_with_pings_between(client: WebSocketClient) -> None:
    body = echo("R1", "fragments")
    client.writer.write(frame(TEXT, body[:1], fin=False))
    for byte in body[1:-1]:
        client.writer.write(frame(CONTINUATION, bytes([byte]), fin=False))
    client.writer.write(frame(PING, b"still here") + frame(CONTINUATION, body[-1:]))
    assert bytes((await client.frame()).data) == b"still here"
    assert await answers(client, "R1") == "fragments"


async def test_5_empty_fragments(client: WebSocketClient) -> None:
    client.writer.write(
        frame(TEXT, b"", fin=False)
        + frame(CONTINUATION, echo("R1", "x"), fin=False)
        + frame(CONTINUATION, b"")
    )
    assert await answers(client, "R1") == "x"


@pytest.mark.parametrize("text", ["κόσμε", "\U0010ffff", "�", "\x7f"])
async def test_6_utf_8_split_anywhere(client: WebSocketClient, text: str) -> None:
    body = echo("R1", text)
    for start in range(len(body)):
        last = start == len(body) - 1
        opcode = CONTINUATION if start else TEXT
        client.writer.write(frame(opcode, body[start : start + 1], fin=last))
    assert await answers(client, "R1") == text


NOT_UTF_8 = (
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xc0\xaf",
    b"\xed\xb0\x80",
    b"\xe2\x82",
    b"\x80",
    b"\xff",
)


@pytest.mark.parametrize("octets", NOT_UTF_8)
async def test_6_what_is_not_utf_8_closes_with_1007(client: WebSocketClient, octets: bytes) -> None:
    client.writer.write(frame(TEXT, b'"' + octets + b'"'))
    assert await client.close_code() == 1007


async def test_6_utf_8_that_is_wrong_across_fragments(client: WebSocketClient) -> None:
    client.writer.write(frame(TEXT, b'"\xce', fin=False) + frame(CONTINUATION, b'"'))
    assert await client.close_code() == 1007


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)
async def test_7_a_close_is_answered_with_its_code(client: WebSocketClient, code: int) -> None:
    client.writer.write(frame(CLOSE, struct.pack("!H", code) + b"x" * 123))
    assert await client.close_code() == code


async def test_7_a_close_without_a_code(client: WebSocketClient) -> None:
    client.writer.write(frame(CLOSE))
    assert (await client.frame()).opcode.value == CLOSE


async def test_7_a_close_whose_reason_is_not_utf_8(client: WebSocketClient) -> None:
    client.writer.write(frame(CLOSE, struct.pack("!H", 1000) + b"\xce\xba\xe1\xbd\xb9\xcf\xed\xa0"))
    assert await client.close_code() in (1002, 1007)


async def test_7_what_comes_after_a_close_is_ignored(client: WebSocketClient) -> None:
    client.writer.write(frame(CLOSE, struct.pack("!H", 1000)) + frame(PING) + frame(TEXT, b"{}"))
    assert await client.close_code() == 1000


async def test_9_a_message_over_the_limit_in_one_or_in_many_frames() -> None:
    settings = GatewaySettings(websocket_message_bytes_max=MESSAGE_BYTES_MAX)
    async with gateway_running(settings) as gateway:
        async with await connected(gateway) as client:
            client.writer.write(frame(TEXT, b"x" * (MESSAGE_BYTES_MAX + 1)))
            assert await client.close_code() == 1009
        async with await connected(gateway) as client:
            client.writer.write(frame(TEXT, b"x" * 100_000, fin=False))
            client.writer.write(frame(CONTINUATION, b"x" * 100_001))
            assert await client.close_code() == 1009
        async with await connected(gateway) as client:
            announced = struct.pack("!BBQ", 0x81, 0xFF, 1 << 62)  # and nothing of it is sent
            client.writer.write(announced)
            assert await client.close_code() == 1009
