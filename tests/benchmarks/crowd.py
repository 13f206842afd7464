"""Very many clients in one process, which read and count, and little else."""

import selectors
import socket
import time

REQUEST = (
    "GET /jmap/eventsource?types=*&closeafter=no&ping=0 HTTP/1.1\r\nHost: x\r\n"
    "Accept: text/event-stream\r\n{auth}\r\n\r\n"
)
UPGRADE = (
    "GET /jmap/ws HTTP/1.1\r\nHost: x\r\n{auth}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: jmap\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
# A masked text frame with a mask of zeros, so that the bytes are as they are.
_ENABLE = b'{"@type":"WebSocketPushEnable","dataTypes":null}'
ENABLE = b"\x81%c\x00\x00\x00\x00%b" % (0x80 | len(_ENABLE), _ENABLE)


class Crowd:
    """`count` connections to a port of this machine; `is_websocket` ones enable push."""

    def __init__(
        self, port: int, count: int, *, is_websocket: bool = False, cursor: str | None = None
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        template = UPGRADE if is_websocket else REQUEST
        for number in range(count):
            connection = socket.create_connection(("127.0.0.1", port))
            authorization = f"Authorization: Bearer u{number}"
            if cursor is not None:
                authorization += f"\r\nLast-Event-ID: {cursor}"
            connection.sendall(template.format(auth=authorization).encode())
            if is_websocket:
                connection.sendall(ENABLE)
            connection.settimeout(0)
            self._selector.register(connection, selectors.EVENT_READ)
            self._sockets.append(connection)
        self.count(b"HTTP/1.1 101" if is_websocket else b"HTTP/1.1 200", at_least=count)

    def count(self, what: bytes, *, at_least: int, seconds: float = 60.0) -> int:
        """How often `what` came, once that is often enough; AssertionError when late."""
        found, deadline = 0, time.monotonic() + seconds
        while found < at_least:
            assert time.monotonic() < deadline, f"{found} of {at_least}"
            for key, _ in self._selector.select(0.2):
                data = key.fileobj.recv(65536)  # type: ignore[union-attr]
                assert data, "a connection was closed"
                found += data.count(what)
        return found

    def close(self) -> None:
        for connection in self._sockets:
            connection.close()
        self._selector.close()
