"""Server-sent events (RFC 8620 section 7.3) as a channel: its bytes, and its two transports."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from services.gateway.channel import PushChannel
from services.gateway.frames import LAST_CHUNK, chunk, ping_event, retry_line, state_events
from services.gateway.push_connection import EndReason, PushMessage

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

RETRY_MILLISECONDS = (1000, 5000)  # of a client that is sent away, so that all do not come at once

HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


class EventSourceChannel(PushChannel):
    """Bytes as they are: HTTP/1.0, which ends with the connection, and ASGI, which has its own."""

    __slots__ = ()
    kind = "sse_plain"

    def frames_of(self, message: PushMessage) -> Iterable[bytes]:
        return state_events(message)

    def ping_frame(self) -> bytes:
        return ping_event(self.push.options.ping_seconds)

    def end_frame(self, reason: EndReason) -> bytes:
        if reason in (EndReason.DRAINING, EndReason.LOST):
            return retry_line(random.randint(*RETRY_MILLISECONDS))  # noqa: S311  no secret
        return b""

    def data_received(self, data: bytes) -> None:
        """A client has nothing to say on an event source."""


class ChunkedEventSourceChannel(EventSourceChannel):
    """HTTP/1.1."""

    __slots__ = ()
    kind = "sse"

    def frames_of(self, message: PushMessage) -> Iterable[bytes]:
        return map(chunk, state_events(message))

    def ping_frame(self) -> bytes:
        return chunk(super().ping_frame())

    def end_frame(self, reason: EndReason) -> bytes:
        line = super().end_frame(reason)
        return (chunk(line) if line else b"") + LAST_CHUNK


def response_head(http_version: str, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a response that ends with its connection."""
    headers = [*default_headers, *HEADERS, (b"connection", b"close")]
    if http_version == "1.1":
        headers.append((b"transfer-encoding", b"chunked"))
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"HTTP/1.1 200 OK\r\n%b\r\n" % b"".join(lines)


class AsgiTransport:
    """Imitates a transport over ASGI; while a write is on its way its channel is paused."""

    def __init__(self, channel: PushChannel) -> None:
        self._channel = channel
        self._body = b""
        self._is_closing = False
        self._changed = asyncio.Event()

    async def run(self, send: Send, receive: Receive) -> None:
        """Until the channel or the client ends it."""
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(self._watch(receive))
            try:
                await self._pump(send)
            finally:
                watcher.cancel()

    def write(self, data: bytes) -> None:
        self._body += data
        self._changed.set()
        self._channel.pause_writing()

    def close(self) -> None:
        self._is_closing = True
        self._changed.set()

    abort = close

    async def _pump(self, send: Send) -> None:
        while self._body or not self._is_closing:
            if not self._body:
                await self._changed.wait()
                self._changed.clear()
                continue
            body, self._body = self._body, b""
            await send({"type": "http.response.body", "body": body, "more_body": True})
            if not self._body and not self._is_closing:
                self._channel.resume_writing()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._channel.connection_lost(None)
        self._body = b""
        self.close()
