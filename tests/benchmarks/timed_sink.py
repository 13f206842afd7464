"""Endpoints that say when each request came: `python -m tests.benchmarks.timed_sink ORIGINS`.

Prints its ports as JSON. A path begins with what the endpoint does: `/ok`, `/hole` (never answers),
`/slow` (answers after 3 s), `/throttled` (429). A line of standard input is answered with what came
since the last: path -> [seconds of the monotonic clock, body] of each.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict

import uvloop

_SLOW_SECONDS = 3.0
_CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
_THROTTLED = b"HTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


class Sink(asyncio.Protocol):
    """Requests with Content-Length, one after another."""

    def __init__(self, came: defaultdict[str, list[tuple[float, str]]]) -> None:
        self._came = came
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._received) < end + 4 + length:
                return
            body = self._received[end + 4 : end + 4 + length]
            self._received = self._received[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1].decode(), body.decode())

    def _answer(self, path: str, body: str) -> None:
        assert self._transport is not None
        self._came[path].append((time.monotonic(), body))
        if path.startswith("/ok"):
            self._transport.write(_CREATED)
        elif path.startswith("/throttled"):
            self._transport.write(_THROTTLED)
        elif path.startswith("/slow"):
            asyncio.get_running_loop().call_later(_SLOW_SECONDS, self._transport.write, _CREATED)


async def serve(origins: int) -> None:
    came: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda: Sink(came), "127.0.0.1", 0, backlog=512)
        for _ in range(origins)
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(came), flush=True)
        came.clear()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
