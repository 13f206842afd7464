"""Messages that are passed on as they are read from the socket."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest
from nats.aio.msg import Msg

from shared.bus.connection import Bus, open_bus
from tests.support.eventually import eventually
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration


async def say(bus: Bus, *words: str) -> None:
    for word in words:
        await bus.publish("words", word.encode(), headers={"Said": word})


async def test_all_are_heard_in_order_with_their_headers(nats_url: str) -> None:
    heard: list[tuple[str, str]] = []
    async with open_bus(nats_url, name="ear") as ear, open_bus(nats_url, name="mouth") as mouth:

        def receive(message: Msg) -> None:
            heard.append((message.data.decode(), (message.headers or {})["Said"]))

        subscription = await ear.hear("words", receive)
        await ear.client.flush()
        words = [str(number) for number in range(5000)]
        await say(mouth, *words)
        await eventually(lambda: len(heard) == len(words))
        assert heard == [(word, word) for word in words]

        await subscription.unsubscribe()
        await say(mouth, "late")
        await mouth.client.flush()
        await ear.client.flush()
        assert len(heard) == len(words)


async def test_an_ear_that_fails_does_not_make_the_connection_deaf(nats_url: str) -> None:
    heard: list[bytes] = []

    def receive(message: Msg) -> None:
        heard.append(message.data)
        if message.data == b"bad":
            raise ValueError(message.data)

    async with open_bus(nats_url, name="ear") as ear:
        await ear.hear("words", receive)
        await say(ear, "good", "bad", "better")
        await eventually(lambda: heard == [b"good", b"bad", b"better"])
        assert ear.is_connected


@pytest.mark.parametrize("is_early", [True, False])
async def test_what_cannot_be_read_does_not_make_the_connection_deaf(
    nats_url: str, *, is_early: bool
) -> None:
    """A publisher may put any octets into headers and a reply subject."""
    heard: list[bytes] = []

    async def receive(message: Msg) -> None:
        heard.append(message.data)

    async with open_bus(nats_url, name="ear") as ear:
        if is_early:
            await ear.hear("words", lambda message: heard.append(message.data))
        else:
            await ear.client.subscribe("words", cb=receive)
        await ear.client.flush()
        generation = ear.generation
        await _publish_raw(
            nats_url,
            _with_headers(b"NATS/1.0 \xff\xff\xff\r\n\r\n"),
            _with_headers(b"NATS/1.0 503 \xff\r\n\r\n"),
            _with_headers(b"N"),
            _with_headers(b"NATS/1.0\r\n"),
            _with_headers(b"NATS/1.0\r\n\xff: \xff\r\n\r\n"),
            b"PUB words \xff 3\r\nbad\r\n",
        )
        await say(ear, "good")
        await eventually(lambda: b"good" in heard)
        assert ear.is_connected
        assert ear.generation == generation


def _with_headers(headers: bytes) -> bytes:
    return b"HPUB words %d %d\r\n%sbad\r\n" % (len(headers), len(headers) + 3, headers)


async def _publish_raw(nats_url: str, *operations: bytes) -> None:
    """As they are; returns when the server has taken them."""
    parts = urlsplit(nats_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    options = {"verbose": False, "headers": True, "user": parts.username, "pass": parts.password}
    writer.write(b"CONNECT " + json.dumps(options).encode() + b"\r\n")
    writer.write(b"".join(operations) + b"PING\r\n")
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"INFO")
        assert await reader.readline() == b"PONG\r\n"
    writer.close()


async def test_it_hears_again_after_the_server_was_away(fresh_nats: NatsServer) -> None:
    heard: list[bytes] = []
    async with open_bus(fresh_nats.url, name="ear") as ear:
        await ear.hear("words", lambda message: heard.append(message.data))
        generation = ear.generation
        fresh_nats.kill()
        await asyncio.to_thread(fresh_nats.start)
        await eventually(lambda: ear.is_connected and ear.generation > generation, seconds=20)
        await say(ear, "again")
        await eventually(lambda: heard == [b"again"])
