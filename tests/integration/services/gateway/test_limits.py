"""What one address may hold, and what the kernel is told of each connection; over real sockets."""

import asyncio
import socket

import pytest

from services.gateway import channel, entrance
from services.gateway.channel import SEND_BUFFER_BYTES, UNACKNOWLEDGED_MILLISECONDS
from services.gateway.settings import GatewaySettings
from services.gateway.websocket import WebSocketChannel
from shared.store.credentials import Credential
from tests.support.eventually import eventually
from tests.support.gateway import AUTHORIZATION, gateway_running
from tests.support.websocket import WebSocketClient
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

ALL = "/jmap/eventsource?types=*&closeafter=no&ping=0"


async def test_an_address_that_has_enough_is_told_when_to_come_back() -> None:
    settings = GatewaySettings(connections_per_address_max=2)
    async with gateway_running(settings) as gateway:
        async with (
            await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION),
            await WebSocketClient.connect(gateway.port, AUTHORIZATION),
        ):
            async with await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION) as refused:
                assert refused.status == 429
                assert 1 <= int(refused.headers["retry-after"]) <= 5
                assert b"address" in await refused.reader.read(1000)
            async with await WebSocketClient.connect(gateway.port, AUTHORIZATION) as barred:
                assert barred.status == 429
                assert 1 <= int(barred.headers["retry-after"]) <= 5
            assert await status_from("127.0.0.2", gateway.port) == 200
        await eventually(lambda: len(gateway.connections) == 0)
        async with await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION) as again:
            assert again.status == 200


async def test_a_process_that_is_full_says_so_to_any_address() -> None:
    settings = GatewaySettings(connections_max=1)
    async with (
        gateway_running(settings) as gateway,
        await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION),
    ):
        assert await status_from("127.0.0.2", gateway.port) == 503
        async with await WebSocketClient.connect(gateway.port, AUTHORIZATION) as barred:
            assert barred.status == 503
            assert 1 <= int(barred.headers["retry-after"]) <= 5


async def status_from(address: str, port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    client = EventSourceClient(reader, writer)
    writer.write(f"GET {ALL} HTTP/1.1\r\nHost: x\r\n{AUTHORIZATION}\r\n\r\n".encode())
    await client._read_head()
    writer.transport.abort()
    return client.status


@pytest.mark.parametrize("kind", ["sse", "websocket"])
async def test_the_kernel_gives_a_vanished_peer_up_and_holds_little_for_a_slow_one(
    kind: str,
) -> None:
    async with gateway_running() as gateway:
        client: EventSourceClient | WebSocketClient
        if kind == "sse":
            client = await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION)
        else:
            client = await WebSocketClient.connect(gateway.port, AUTHORIZATION)
        async with client:
            (held,) = gateway.connections
            assert held.kind == kind
            accepted = held.transport.get_extra_info("socket")

            unacknowledged = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert unacknowledged == UNACKNOWLEDGED_MILLISECONDS
            # Linux keeps as much again for its own records.
            buffered = accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            assert buffered == 2 * SEND_BUFFER_BYTES


async def test_a_stalled_peer_that_is_answered_over_asgi_costs_no_task_for_ever() -> None:
    """A client gets there by pipelining."""
    settings = GatewaySettings(stall_seconds=1, flush_milliseconds=1)
    async with gateway_running(settings) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(f"GET {ALL} HTTP/1.1\r\nHost: x\r\n{AUTHORIZATION}\r\n\r\n".encode() * 2)
        client = EventSourceClient(reader, writer)
        await client._read_head()
        async with client:
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            (held,) = gateway.connections
            number = 0
            while not held.push.is_over:
                number += 1
                gateway.fan_out.append("a1", Email=f"s{number}" + "x" * 10_000)
                await asyncio.sleep(0.002)
                assert number < 20_000

            assert gateway.connections.ended["sse", "stalled"] == 1
            await eventually(lambda: not answering())


async def test_a_database_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "DATABASE_SECONDS_MAX", 0.2)

    async def hangs(authorization: str | None) -> Credential:
        raise AssertionError(await asyncio.get_running_loop().create_future() or authorization)

    async with gateway_running() as gateway:
        gateway.entrance._authenticate = hangs
        async with await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION) as refused:
            assert refused.status == 503
            assert 1 <= int(refused.headers["retry-after"]) <= 5


async def test_a_slow_peer_that_is_sent_away_is_cut_off_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "LINGER_SECONDS_MAX", 0.3)
    settings = GatewaySettings(requests_at_once_max=100)
    async with gateway_running(settings) as gateway:
        client = await WebSocketClient.connect(gateway.port, AUTHORIZATION)
        async with client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            (slow,) = gateway.connections
            assert isinstance(slow, WebSocketChannel)
            while not slow.push.is_paused:
                echo = ["Core/echo", {"text": "x" * 50_000}, "c"]
                client.send({"@type": "Request", "using": [], "methodCalls": [echo]})
                await asyncio.sleep(0.01)
            await gateway.connections.drain(0)
            assert slow._wire is not None, "it may take what is left"
            await eventually(lambda: slow._wire is None, seconds=5)


def answering() -> list[str]:
    tasks = [repr(task) for task in asyncio.all_tasks()]
    return [task for task in tasks if "run_asgi" in task]
