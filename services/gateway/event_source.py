"""Server-sent events (RFC 8620 section 7.3) as a channel: its bytes, and its two transports."""

import asyncio
import functools
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
    (b"access-control-allow-origin", b"*"),  # a browser's EventSource obeys CORS
)


class EventSourceChannel(PushChannel):
    """Writes an event as one chunk, where it writes to an HTTP/1.1 transport itself."""

    __slots__ = ("is_chunked",)
    kind = "sse"

    def open_as(self, head: bytes, *, is_chunked: bool) -> None:
        """`open`, with chunked coding or with bytes as they are: for HTTP/1.0, and for ASGI."""
        self.is_chunked = is_chunked
        self.frame_key = (self.push.options.types, is_chunked)
        self.open(head)

    def frames_of(self, message: PushMessage) -> Iterable[bytes]:
        events = state_events(message)
        return map(chunk, events) if self.is_chunked else events

    def ping_frame(self) -> bytes:
        return self._coded(ping_event(self.push.options.ping_seconds))

    def end_frame(self, reason: EndReason) -> bytes:
        line = b""
        if reason in (EndReason.DRAINING, EndReason.LOST, EndReason.OPERATOR):
            line = self._coded(retry_line(random.randint(*RETRY_MILLISECONDS)))  # noqa: S311
        return line + LAST_CHUNK if self.is_chunked else line

    def data_received(self, data: bytes) -> None:
        """A client has nothing to say on an event source."""

    def _coded(self, body: bytes) -> bytes:
        return chunk(body) if self.is_chunked else body


def response_head(http_version: str, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head of a response that ends with its connection."""
    return _response_head(http_version, tuple(default_headers))


@functools.lru_cache(maxsize=4)  # the default headers have the date, so they last for a second
def _response_head(http_version: str, default_headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    headers = [*default_headers, *HEADERS, (b"connection", b"close")]
    if http_version == "1.1":
        headers.append((b"transfer-encoding", b"chunked"))
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"HTTP/1.1 200 OK\r\n%b\r\n" % b"".join(lines)


class AsgiTransport:
    """Imitates a transport over ASGI; while a write is on its way its channel is paused.

    `below` is what the server writes to, if that is known: a `send` to a peer that takes nothing
    ends only with it.
    """

    def __init__(self, channel: PushChannel, below: asyncio.Transport | None) -> None:
        self._channel = channel
        self._below = below
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
        self._channel.hold()

    def get_write_buffer_size(self) -> int:
        return len(self._body) if self._below is None else self._below.get_write_buffer_size()

    def close(self) -> None:
        self._is_closing = True
        self._changed.set()

    def abort(self) -> None:
        self._body = b""
        self.close()
        if self._below is not None:
            self._below.abort()

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
