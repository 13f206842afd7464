"""How WebSockets are refused, broken off and ended, over a real socket (RFC 6455, RFC 8887)."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from services.gateway.settings import GatewaySettings
from shared.log.appender import LogUnavailableError
from tests.support.eventually import eventually
from tests.support.gateway import (
    GatewayOfTest,
    gateway_running,
)
from tests.support.websocket import READ_SECONDS, WebSocketClient
from tests.support.websocket_talk import ENABLE, asking, connect, listening

pytestmark = pytest.mark.integration


@pytest.fixture
async def gateway() -> AsyncIterator[GatewayOfTest]:
    settings = GatewaySettings(websocket_message_bytes_max=100_000, origins=("https://ours.test",))
    async with gateway_running(settings) as running:
        yield running


async def test_w15_a_foreign_origin_is_refused(gateway: GatewayOfTest) -> None:
    async with await connect(gateway, "Origin: https://evil.test") as client:
        assert client.status == 403
    async with await connect(gateway, "Origin: https://ours.test") as client:
        assert client.status == 101


async def test_a_message_over_the_limit_closes_with_1009(gateway: GatewayOfTest) -> None:
    async with await connect(gateway) as client:
        client.send_text(b"x" * 100_001)
        assert await client.close_code() == 1009
    async with await connect(gateway) as client:
        for _ in range(3):
            client.framing.send_text(b"x" * 40_000, fin=False)
            client.framing.expect_continuation_frame = False
            client.flush()
        assert await client.close_code() in (1002, 1009)


async def test_text_that_is_not_utf_8_closes_with_1007(gateway: GatewayOfTest) -> None:
    async with await connect(gateway) as client:
        client.send_text(b'"\xff\xfe"')
        assert await client.close_code() == 1007


async def test_the_peers_close_is_answered(gateway: GatewayOfTest) -> None:
    async with await connect(gateway) as client:
        client.framing.send_close(1000, "bye")
        client.flush()
        assert await client.close_code() == 1000
    await eventually(lambda: gateway.connections.ended["websocket", "client"] == 1)


async def test_what_is_sent_before_the_handshake_is_answered_is_read(
    gateway: GatewayOfTest,
) -> None:
    framing = WebSocketClient(None, None).framing  # type: ignore[arg-type]
    framing.send_text(json.dumps(asking("early")).encode())
    early = b"".join(framing.data_to_send())
    async with await connect(gateway, early=early) as client:
        assert client.status == 101
        assert (await client.message())["requestId"] == "early"


async def test_an_idle_peer_is_pinged() -> None:
    settings = GatewaySettings(websocket_ping_seconds=1)
    async with gateway_running(settings) as gateway, await connect(gateway) as client:
        ping = await client.frame()
        assert (ping.opcode.name, bytes(ping.data)) == ("PING", b"")
        assert not gateway.connections.ping_seconds
        client.flush()
        client.send(asking("R1"))
        assert (await client.message())["requestId"] == "R1"
        (round_trip,) = gateway.connections.ping_seconds
        assert 0 <= round_trip < READ_SECONDS


async def test_drain_closes_with_1012(gateway: GatewayOfTest) -> None:
    async with await connect(gateway) as client:
        await gateway.connections.drain(0)
        assert await client.close_code() == 1012


async def test_a_log_that_cannot_be_read_closes_with_1013(gateway: GatewayOfTest) -> None:
    async with await connect(gateway) as client:
        gateway.fan_out.failure = LogUnavailableError("being rebuilt")
        client.send(ENABLE)
        assert await client.close_code() == 1013


async def test_a_stalled_peer_is_read_no_further_and_closed() -> None:
    settings = GatewaySettings(stall_seconds=1, requests_at_once_max=100)
    async with gateway_running(settings) as gateway, await connect(gateway) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (channel,) = gateway.connections
        number = 0
        while not channel.push.is_paused:
            number += 1
            client.send(asking(f"R{number}", text="x" * 50_000))
            await asyncio.sleep(0.01)
            assert number < 500
        await eventually(lambda: gateway.connections.ended["websocket", "stalled"] == 1)


async def test_a_client_that_goes_is_forgotten(gateway: GatewayOfTest) -> None:
    async with await connect(gateway) as client:
        await listening(gateway, client)
    await eventually(lambda: len(gateway.connections) == 0 and gateway.fan_out.listeners == 0)
