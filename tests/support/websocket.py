"""A WebSocket client that reads and writes frames as they are."""

import asyncio
import json
import ssl
from types import TracebackType
from typing import Any, Self

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from tests.support.eventually import PATIENCE

READ_SECONDS = 10.0 * PATIENCE
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HANDSHAKE = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)
OFFER = "Sec-WebSocket-Protocol: jmap"


class WebSocketClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.framing = Protocol(CLIENT, state=OPEN, max_size=None)
        self._frames: list[Frame] = []

    @classmethod
    async def connect(cls, port: int, *headers: str, target: str = "/jmap/ws", **more: Any) -> Self:
        """The opening handshake; `headers` beside those that make one."""
        return await cls.handshake(port, *HANDSHAKE, OFFER, *headers, target=target, **more)

    @classmethod
    async def handshake(
        cls,
        port: int,
        *headers: str,
        target: str = "/jmap/ws",
        early: bytes = b"",
        tls: ssl.SSLContext | None = None,
    ) -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        client = cls(reader, writer)
        lines = [f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", *headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + early)
        async with asyncio.timeout(READ_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status_line, *rest = head.split("\r\n")[:-2]
        client.status = int(status_line.split(" ")[1])
        client.headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in rest)
        }
        return client

    def send(self, message: Any) -> None:
        self.send_text(json.dumps(message).encode())

    def send_text(self, body: bytes) -> None:
        self.framing.send_text(body)
        self.flush()

    def flush(self) -> None:
        self.writer.write(b"".join(self.framing.data_to_send()))

    async def frame(self) -> Frame:
        async with asyncio.timeout(READ_SECONDS):
            while not self._frames:
                data = await self.reader.read(65536)
                if not data:
                    raise ConnectionResetError
                self.framing.receive_data(data)
                self._frames += [f for f in self.framing.events_received() if isinstance(f, Frame)]
        return self._frames.pop(0)

    async def message(self) -> Any:
        frame = await self.frame()
        assert frame.opcode is Opcode.TEXT, frame
        assert frame.fin
        return json.loads(bytes(frame.data))

    async def close_code(self) -> int:
        """Of the Close that comes next; then the server has closed the connection."""
        frame = await self.frame()
        assert frame.opcode is Opcode.CLOSE, frame
        self.flush()
        async with asyncio.timeout(READ_SECONDS):
            assert await self.reader.read() == b""
        return int.from_bytes(bytes(frame.data)[:2], "big") or CloseCode.NO_STATUS_RCVD

    async def hears_nothing(self, seconds: float = 0.3) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return not await self.reader.read(1)
        except TimeoutError:
            return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()
