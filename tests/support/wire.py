"""A client that reads the bytes of an event source as they are."""

import asyncio
import json
import ssl
from types import TracebackType
from typing import Self

from tests.support.eventually import PATIENCE

READ_SECONDS = 10.0 * PATIENCE


class EventSourceClient:
    """One connection, one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.head = b""

    @classmethod
    async def get(
        cls,
        port: int,
        target: str,
        *headers: str,
        version: str = "1.1",
        method: str = "GET",
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        """Send a request and read the head of the response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        client = cls(reader, writer)
        lines = [f"{method} {target} HTTP/{version}", f"Host: 127.0.0.1:{port}", *headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        try:
            await client._read_head()
        except BaseException:
            writer.transport.abort()
            raise
        return client

    async def _read_head(self) -> None:
        async with asyncio.timeout(READ_SECONDS):
            self.head = await self.reader.readuntil(b"\r\n\r\n")
        status_line, *lines = self.head.decode("latin-1").split("\r\n")[:-2]
        self.status = int(status_line.split(" ")[1])
        self.headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines)
        }

    async def chunk(self) -> bytes:
        """One chunk; empty: the response ended well."""
        async with asyncio.timeout(READ_SECONDS):
            length = int(await self.reader.readline(), 16)
            body = await self.reader.readexactly(length + 2)
        assert body.endswith(b"\r\n")
        return body[:-2]

    async def event(self) -> bytes:
        """One event, which must be one chunk."""
        chunk = await self.chunk()
        assert chunk.endswith(b"\n\n"), chunk
        assert chunk.count(b"\n\n") == 1, chunk
        return chunk

    async def state(self) -> tuple[str, dict[str, dict[str, str]]]:
        """A `state` event: its id and what changed."""
        return parse_state(await self.event())

    async def body(self) -> bytes:
        """All that comes until the server closes, as it is."""
        async with asyncio.timeout(READ_SECONDS):
            return await self.reader.read()

    async def hears_nothing(self, seconds: float = 0.3) -> bool:
        """As proof that something does not come a moment of silence has to do."""
        try:
            async with asyncio.timeout(seconds):
                return not await self.reader.read(1)
        except TimeoutError:
            return True

    async def is_closed(self) -> bool:
        """The server closed after what was read so far."""
        return await self.body() == b""

    async def close(self) -> None:
        self.writer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()


def parse_state(event: bytes) -> tuple[str, dict[str, dict[str, str]]]:
    name, id_line, data, *rest = event.decode().split("\n")
    assert name == "event: state"
    assert id_line.startswith("id: ")
    assert data.startswith("data: ")
    assert rest == ["", ""]
    body = json.loads(data.removeprefix("data: "))
    assert body["@type"] == "StateChange"
    return id_line.removeprefix("id: "), body["changed"]
