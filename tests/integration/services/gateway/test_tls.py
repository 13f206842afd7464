"""Event sources and WebSockets on transports that uvicorn gave away under TLS."""

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.certificate import Certificate, make_certificate
from tests.support.eventually import eventually
from tests.support.gateway import AUTHORIZATION, GatewayOfTest, gateway_running
from tests.support.websocket import WebSocketClient
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@pytest.fixture
def tls(certificate: Certificate) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate.path)


@pytest.fixture
async def gateway(certificate: Certificate) -> AsyncIterator[GatewayOfTest]:
    async with gateway_running(certificate=certificate) as running:
        yield running


async def test_an_event_source_over_tls(gateway: GatewayOfTest, tls: ssl.SSLContext) -> None:
    target = "/jmap/eventsource?types=*&closeafter=state"
    client = await EventSourceClient.get(gateway.port, target, AUTHORIZATION, tls=tls)
    async with client:
        gateway.fan_out.append("a1", Email="s1")

        assert await client.state() == ("m.1", {"a1": {"Email": "s1"}})
        assert await client.chunk() == b""
        assert await client.is_closed()


async def test_a_websocket_over_tls(gateway: GatewayOfTest, tls: ssl.SSLContext) -> None:
    client = await WebSocketClient.connect(gateway.port, AUTHORIZATION, tls=tls)
    async with client:
        client.send({"@type": "WebSocketPushEnable", "dataTypes": None})
        await eventually(lambda: gateway.fan_out.listeners == 1)
        gateway.fan_out.append("a1", Email="s1")
        assert (await client.message())["changed"] == {"a1": {"Email": "s1"}}

        client.framing.send_binary(b"x")
        client.flush()
        assert await client.close_code() == 1003
