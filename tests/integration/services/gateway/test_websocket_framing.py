"""RFC 6455 framing, case by case as the Autobahn suite groups them, against the gateway's port."""

import asyncio
import json
import struct
from collections.abc import AsyncIterator

import pytest

from services.gateway.settings import GatewaySettings
from tests.support.gateway import AUTHORIZATION, GatewayOfTest, gateway_running
from tests.support.websocket import READ_SECONDS, WebSocketClient

pytestmark = pytest.mark.integration

MESSAGE_BYTES_MAX = 200_000
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@pytest.fixture(scope="module")
async def gateway() -> AsyncIterator[GatewayOfTest]:
    """One for all, which no broken client may harm."""
    settings = GatewaySettings(websocket_message_bytes_max=MESSAGE_BYTES_MAX)
    async with gateway_running(settings) as running:
        yield running


@pytest.fixture
async def client(gateway: GatewayOfTest) -> AsyncIterator[WebSocketClient]:
    async with await connected(gateway) as connection:
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


async def closed_with(client: WebSocketClient) -> int:
    """The code of a Close in one frame, after which the server sends nothing and goes."""
    close = await client.frame()
    assert close.opcode.value == CLOSE
    client.writer.write(frame(CLOSE, bytes(close.data)))
    async with asyncio.timeout(READ_SECONDS):
        assert await client.reader.read() == b""
    return int.from_bytes(bytes(close.data)[:2], "big") or 1005


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


async def test_2_a_ping_octet_by_octet_between_pongs(client: WebSocketClient) -> None:
    data = frame(PONG, b"p" * 125) + frame(PING, b"p" * 125)
    for start in range(len(data)):
        client.writer.write(data[start : start + 1])
        await asyncio.sleep(0)
    assert bytes((await client.frame()).data) == b"p" * 125


BROKEN = {
    "2.5 a ping of 126 octets": frame(PING, b"p" * 126),
    "2.5 a pong of 126 octets": frame(PONG, b"p" * 126),
    **{f"3 reserved bits {bits:03b}": frame(TEXT, b"{}", reserved=bits) for bits in range(1, 8)},
    "3 reserved bits of a ping": frame(PING, b"", reserved=4),
    "3 reserved bits of a close": frame(CLOSE, b"\x03\xe8", reserved=7),
    **{f"4 the reserved opcode {code}": frame(code) for code in (3, 4, 5, 6, 7)},
    **{f"4 the reserved opcode {code}": frame(code, b"x") for code in (11, 12, 13, 14, 15)},
    "5.1 a fragmented ping": frame(PING, b"x", fin=False),
    "5.2 a fragmented pong": frame(PONG, b"x", fin=False),
    "5.9 a continuation of nothing": frame(CONTINUATION, b"{}"),
    "5.12 a first continuation of nothing": frame(CONTINUATION, b"{", fin=False),
    "5.15 a continuation after a whole message": frame(TEXT, b"{", fin=False)
    + frame(CONTINUATION, b"}")
    + frame(CONTINUATION, b"{}"),
    "5.18 a second start": frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"),
    "5.18 a second start in fragments": frame(TEXT, b"{", fin=False) + frame(TEXT, b"}", fin=False),
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
    assert await closed_with(client) == 1002


async def test_5_a_message_in_many_fragments_with_pings_between(client: WebSocketClient) -> None:
    body = echo("R1", "fragments")
    client.writer.write(frame(TEXT, body[:1], fin=False))
    for byte in body[1:-1]:
        client.writer.write(frame(CONTINUATION, bytes([byte]), fin=False))
    client.writer.write(frame(PING, b"still here") + frame(CONTINUATION, body[-1:]))
    assert bytes((await client.frame()).data) == b"still here"
    assert await answers(client, "R1") == "fragments"


async def test_5_a_control_frame_is_answered_while_a_message_is_unfinished(
    client: WebSocketClient,
) -> None:
    body = echo("R1", "x")
    client.writer.write(frame(TEXT, body[:20], fin=False) + frame(PING, b"1"))
    assert bytes((await client.frame()).data) == b"1"
    client.writer.write(frame(CONTINUATION, body[20:30], fin=False) + frame(PING, b"2"))
    assert bytes((await client.frame()).data) == b"2"
    client.writer.write(frame(CONTINUATION, body[30:]))
    assert await answers(client, "R1") == "x"


async def test_5_empty_fragments(client: WebSocketClient) -> None:
    client.writer.write(
        frame(TEXT, b"", fin=False)
        + frame(CONTINUATION, echo("R1", "x"), fin=False)
        + frame(CONTINUATION, b"")
    )
    assert await answers(client, "R1") == "x"


TEXTS = {
    "6.2 the suite's": "Hello-µ@ßöäüàá-UTF-8!!",
    "6.5 Greek": "κόσμε",
    "6.7 first of each length": "\x7f\x80\u0800\U00010000",
    "6.9 last of each length": "\x7f\u07ff\uffff\U0010ffff",
    "6.11 around the surrogates": "\ud7ff\ue000\ufffd",
    "6.22 non-characters": "\ufffe\uffff\U0001fffe\U0001ffff\U0010fffe",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_6_utf_8_split_anywhere(client: WebSocketClient, text: str) -> None:
    body = echo("R1", text)
    for start in range(len(body)):
        last = start == len(body) - 1
        opcode = CONTINUATION if start else TEXT
        client.writer.write(frame(opcode, body[start : start + 1], fin=last))
    assert await answers(client, "R1") == text


NOT_UTF_8 = {
    "6.3 a surrogate after good text": "κόσμε".encode() + b"\xed\xa0\x80edited",
    "6.4 beyond Unicode": b"\xf4\x90\x80\x80",
    "6.8 first of five octets": b"\xf8\x88\x80\x80\x80",
    "6.8 first of six octets": b"\xfc\x84\x80\x80\x80\x80",
    "6.10 last of four octets": b"\xf7\xbf\xbf\xbf",
    "6.10 last of six octets": b"\xfd\xbf\xbf\xbf\xbf\xbf",
    "6.12 a continuation octet": b"\x80",
    "6.12 the last continuation octet": b"\xbf",
    "6.13 all continuation octets": bytes(range(0x80, 0xC0)),
    "6.14 lonely starts of two": b" ".join(bytes([n]) for n in range(0xC0, 0xE0)),
    "6.14 lonely starts of three": b" ".join(bytes([n]) for n in range(0xE0, 0xF0)),
    "6.14 lonely starts of four": b" ".join(bytes([n]) for n in range(0xF0, 0xF8)),
    "6.15 two of three octets": b"\xe2\x82",
    "6.15 three of four octets": b"\xf0\x9f\x98",
    "6.16 unfinished ones in a row": b"\xc0\xe0\x80\xf0\x80\x80\xdf\xef\xbf\xf7\xbf\xbf",
    "6.17 FE": b"\xfe",
    "6.17 FF": b"\xff",
    "6.18 a slash in two octets": b"\xc0\xaf",
    "6.18 a slash in three octets": b"\xe0\x80\xaf",
    "6.18 a slash in four octets": b"\xf0\x80\x80\xaf",
    "6.19 overlong by one": b"\xc1\xbf",
    "6.19 overlong three octets": b"\xe0\x9f\xbf",
    "6.19 overlong four octets": b"\xf0\x8f\xbf\xbf",
    "6.20 NUL in two octets": b"\xc0\x80",
    "6.21 a high surrogate": b"\xed\xaf\xbf",
    "6.21 a low surrogate": b"\xed\xb0\x80",
    "6.21 a surrogate pair": b"\xed\xa0\x80\xed\xb0\x80",
}


@pytest.mark.parametrize("octets", NOT_UTF_8.values(), ids=NOT_UTF_8.keys())
async def test_6_what_is_not_utf_8_closes_with_1007(gateway: GatewayOfTest, octets: bytes) -> None:
    async with await connected(gateway) as client:
        client.writer.write(frame(TEXT, b'"' + octets + b'"'))
        assert await closed_with(client) == 1007
    async with await connected(gateway) as client:
        client.writer.write(frame(TEXT, b'"', fin=False))
        for octet in octets:
            client.writer.write(frame(CONTINUATION, bytes([octet]), fin=False))
        client.writer.write(frame(CONTINUATION, b'"'))
        assert await closed_with(client) == 1007


@pytest.mark.parametrize("octets", [b"\xf4\x90", b"\x80", b"\xc0", b"\xe0\x80", b"\xf8", b"\xff"])
async def test_6_4_what_cannot_become_utf_8_closes_before_the_message_ends(
    client: WebSocketClient, octets: bytes
) -> None:
    client.writer.write(frame(TEXT, "κόσμε".encode(), fin=False))
    client.writer.write(frame(CONTINUATION, octets, fin=False))
    assert await closed_with(client) == 1007


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
)
async def test_7_a_close_is_answered_with_its_code(client: WebSocketClient, code: int) -> None:
    client.writer.write(frame(CLOSE, struct.pack("!H", code) + b"x" * 123))
    assert await closed_with(client) == code


async def test_7_3_1_a_close_without_a_code(client: WebSocketClient) -> None:
    client.writer.write(frame(CLOSE))
    assert await closed_with(client) == 1005


async def test_7_5_a_close_whose_reason_is_not_utf_8(client: WebSocketClient) -> None:
    client.writer.write(frame(CLOSE, struct.pack("!H", 1000) + b"\xce\xba\xe1\xbd\xb9\xcf\xed\xa0"))
    assert await closed_with(client) == 1007


BYE = frame(CLOSE, struct.pack("!H", 1000))
AFTER_CLOSE = {
    "7.1.2 another close": frame(CLOSE, struct.pack("!H", 1001)),
    "7.1.3 a ping": frame(PING),
    "7.1.4 a message": frame(TEXT, echo("R1")),
    "7.1.5 the rest of a message": frame(CONTINUATION, b"}"),
    "what is no frame": b"\xff" * 100,
}


@pytest.mark.parametrize("rest", AFTER_CLOSE.values(), ids=AFTER_CLOSE.keys())
@pytest.mark.parametrize("start", [b"", frame(TEXT, b"{", fin=False)], ids=["alone", "inside"])
async def test_7_1_a_close_ends_all_and_what_follows_is_ignored(
    client: WebSocketClient, start: bytes, rest: bytes
) -> None:
    """Also between the fragments of a message."""
    client.writer.write(start + BYE + rest)
    assert await closed_with(client) == 1000


async def test_7_1_1_a_close_after_an_answer(client: WebSocketClient) -> None:
    client.writer.write(frame(TEXT, echo("R1", "x")))
    assert await answers(client, "R1") == "x"
    client.writer.write(BYE)
    assert await closed_with(client) == 1000


@pytest.mark.parametrize("fragment", [64, 1024, 60_000])
async def test_9_a_large_message_in_fragments(client: WebSocketClient, fragment: int) -> None:
    text = "ä" * 65_536
    body = echo("R1", text)
    for start in range(0, len(body), fragment):
        part = body[start : start + fragment]
        opcode = CONTINUATION if start else TEXT
        client.writer.write(frame(opcode, part, fin=start + fragment >= len(body)))
    assert await answers(client, "R1") == text


async def test_9_a_message_of_exactly_the_limit(client: WebSocketClient) -> None:
    body = echo("R1", "x" * (MESSAGE_BYTES_MAX - len(echo("R1"))))
    assert len(body) == MESSAGE_BYTES_MAX
    client.writer.write(frame(TEXT, body))
    assert len(await answers(client, "R1")) > 190_000
    client.writer.write(frame(TEXT, body[:-1], fin=False) + frame(CONTINUATION, body[-1:]))
    assert len(await answers(client, "R1")) > 190_000


TOO_LARGE = {
    "one frame": frame(TEXT, b"x" * (MESSAGE_BYTES_MAX + 1)),
    "two frames": frame(TEXT, b"x" * 100_000, fin=False) + frame(CONTINUATION, b"x" * 100_001),
    "announced": struct.pack("!BBQ", 0x81, 0xFF, 1 << 62),  # and nothing of it is sent
}


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE.keys())
async def test_9_a_message_over_the_limit_closes_with_1009(
    client: WebSocketClient, data: bytes
) -> None:
    client.writer.write(data)
    assert await closed_with(client) == 1009


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits; server_no_context_takeover",
        "x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=8",
    ],
)
async def test_12_13_compression_is_offered_in_vain(gateway: GatewayOfTest, offer: str) -> None:
    extensions = f"Sec-WebSocket-Extensions: {offer}"
    async with await WebSocketClient.connect(gateway.port, AUTHORIZATION, extensions) as client:
        assert client.status == 101
        assert "sec-websocket-extensions" not in client.headers
        client.writer.write(frame(TEXT, b"\xaa\x56\x4a", reserved=4))
        assert await closed_with(client) == 1002
