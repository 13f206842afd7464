"""Clients of both transports that drop, stall, and come back with any cursor or none.

The law that they hold the server to (docs/adr/0003). A client's chain is what it was told from one
cursor on: it goes on over every connection that presents the newest cursor; an older cursor takes
the client back to what it knew there, as if it had restored a copy of itself; garbage takes its
view, not its memory of what it was told, since who lost a cursor is told all there is, no older
than it may have known; without a cursor a new chain starts with what /get says. On a chain no state
goes back, and a view, which is what /get and the pushes of one chain add up to, must become what
/get says.
"""

import asyncio
import json
import random
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from tests.support.chaos import (
    TYPES,
    Api,
    NotNowError,
    Person,
    Place,
    Record,
    View,
    get_calls,
    number_of,
    states_of,
)
from tests.support.dispatcher import USING
from tests.support.eventually import PATIENCE
from tests.support.websocket import HANDSHAKE, OFFER

FAILURES = (OSError, EOFError, TimeoutError)
_OPEN_SECONDS = 15.0 * PATIENCE
_RECEIVE_BUFFER_BYTES = 4096  # little, so that a reader that stalls is felt by the server
_GARBAGE = ("garbage", "0", "1..", "1.zzzz.7", "2.a.1", "1.a.-1", "x" * 3000)
_CURSORS_KEPT = 30


class ChaosClient:
    """A subclass knows the transport."""

    kind = ""

    def __init__(
        self, person: Person, ports: Sequence[int], api: Api, record: Record, dice: random.Random
    ) -> None:
        self.person = person
        self.view: View = {}
        self.has_view = False  # it knows what its cursor stands for
        self.fate = ""
        self._told: View = {}
        self._newest: Place | None = None
        self._older: deque[Place] = deque(maxlen=_CURSORS_KEPT)
        self._ports = ports
        self._api = api
        self._record = record
        self._dice = dice
        self._is_busy = len(person.visible) > 10  # a stall of it fills buffers

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            seconds = self._dice.uniform(10, 50) if self._is_busy else self._dice.uniform(1, 12)
            try:
                async with asyncio.timeout(None if self._record.is_calm else seconds):
                    await self._connect()
            except FAILURES:
                pass
            await asyncio.sleep(self._dice.uniform(0.05, 0.4))

    async def _connect(self) -> None:
        port, cursor = self._dice.choice(self._ports), self._present()
        async with asyncio.timeout(_OPEN_SECONDS):
            reader, writer = await _open_narrow(port)
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                status = await self._ask(reader, writer, cursor)
            if status not in (101, 200):
                self._record.counts["refused"] += 1
                if status != 503:
                    self._record.violations.append(f"{self.kind}: status {status}")
                return
            self._record.counts[f"{self.kind} connects"] += 1
            self._record.counts[f"cursors: {self.fate}"] += 1
            await self._listen(reader, writer)
        finally:
            writer.transport.abort()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cursor: str | None
    ) -> int:
        raise NotImplementedError

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _request(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target: str,
        *headers: str,
    ) -> int:
        """The status of the response, whose head is read."""
        authorization = f"Authorization: Bearer {self.person.token}"
        lines = [f"GET {target} HTTP/1.1", "Host: 127.0.0.1", authorization, *headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 "):
            raise ConnectionError("a socket that met itself")
        return int(head[9:12])

    def _present(self) -> str | None:
        """The cursor to come back with, and what the client then knows."""
        self.fate = self._choose_fate()
        match self.fate:
            case "newest" if self._newest is not None:
                return self._newest.cursor
            case "older":
                place = self._newest = self._dice.choice(self._older)
                self.view, self._told = place.view.copy(), place.told.copy()
                return place.cursor
            case "garbage":
                cursor = self._garbage()
                self.view, self._newest, self.has_view = {}, None, True
                return cursor
            case _:
                self.view, self._told, self._newest, self.has_view = {}, {}, None, False
                return None

    def _choose_fate(self) -> str:
        weights = {"newest": 60, "older": 20, "garbage": 10, "none": 10}
        if self._newest is None:
            del weights["newest"]
        elif self._record.is_calm:
            return "newest"
        if not self._older:
            del weights["older"]
        return self._dice.choices([*weights], [*weights.values()])[0]

    def _garbage(self) -> str:
        if self._newest is not None and self._dice.random() < 0.3:  # from the future
            return f"{self._newest.cursor.rpartition('.')[0]}.{10**15}"
        return self._dice.choice(_GARBAGE)

    def receive(self, cursor: str | None, changed: Mapping[str, Mapping[str, str]]) -> None:
        """A StateChange."""
        self._record.counts[f"{self.kind} pushes"] += 1
        for account_id, states in changed.items():
            if account_id not in self.person.visible:
                self._record.violations.append(f"told of {account_id}, which is not visible")
            for type_name, state in states.items():
                self._learn((account_id, type_name), number_of(state), cursor)
        if cursor is not None and self.has_view:
            by = f"{self.kind} connected with {self.fate} cursor"
            place = Place(cursor, self.view.copy(), self._told.copy(), by)
            is_chosen = self._dice.random() < 0.2
            if is_chosen:
                self._older.append(place)
            if is_chosen or not self._is_busy:  # whose views are small
                self._record.places.append((self.person.visible, place))
            self._newest = place

    def _learn(self, key: tuple[str, str], number: int, cursor: str | None) -> None:
        if key[1] not in TYPES:
            self._record.violations.append(f"told of {key}")
        before = self._told.get(key, 0)
        if number < before:
            came_by = self._newest.cursor if self._newest is not None else None
            self._record.violations.append(
                f"{self.kind} connected with {self.fate} cursor: {key} went from s{before} "
                f"to s{number} at {cursor}, after {came_by}"
            )
        self._told[key] = number
        self.view[key] = max(self.view.get(key, 0), number)

    def got(self, view: View) -> None:
        """From /get. It may be ahead of the log, whose pushes then tell nothing new."""
        for key, number in view.items():
            self.view[key] = max(self.view.get(key, 0), number)

    async def linger(self) -> None:
        """After a push: now and then nothing is read for a while."""
        if self._record.is_calm or self._dice.random() > 0.02:
            return
        self._record.counts["stalls"] += 1
        await asyncio.sleep(self._dice.uniform(1, 30 if self._is_busy else 5))


class EventSourceChaosClient(ChaosClient):
    kind = "sse"

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cursor: str | None
    ) -> int:
        target = "/jmap/eventsource?types=*&closeafter=no&ping=30"
        resume = [] if cursor is None else [f"Last-Event-ID: {cursor}"]
        return await self._request(reader, writer, target, *resume)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        if not self.has_view:
            self.got(await self._api.states(self.person.token, self.person.visible))
            self.has_view = True
        while length := int(await reader.readuntil(b"\r\n"), 16):
            chunk = await reader.readexactly(length + 2)
            fields = dict(line.split(b": ", 1) for line in chunk.split(b"\n") if b": " in line)
            if fields.get(b"event") == b"state":
                cursor = fields.get(b"id")
                self.receive(
                    None if cursor is None else cursor.decode(),
                    json.loads(fields[b"data"])["changed"],
                )
                await self.linger()


class WebSocketChaosClient(ChaosClient):
    kind = "websocket"

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cursor: str | None
    ) -> int:
        status = await self._request(reader, writer, "/jmap/ws", *HANDSHAKE, OFFER)
        self._framing = Protocol(CLIENT, state=OPEN, max_size=None)
        self._writer = writer
        if status == 101:
            enable = {"@type": "WebSocketPushEnable", "dataTypes": None}
            self._send(enable if cursor is None else {**enable, "pushState": cursor})
        return status

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What is not known is asked for on the same connection, after the push was enabled."""
        del writer
        self._asked = [] if self.has_view else list(get_calls(self.person.visible))
        self._ask_next()
        while data := await reader.read(65536):
            self._framing.receive_data(data)
            for frame in self._framing.events_received():
                if isinstance(frame, Frame) and frame.opcode is Opcode.TEXT:
                    await self._take(json.loads(bytes(frame.data)))
            self._flush()  # pongs, and the answer to a Close

    async def _take(self, message: Any) -> None:
        match message["@type"]:
            case "StateChange":
                self.receive(message.get("pushState"), message["changed"])
                await self.linger()
            case "Response":
                try:
                    self.got(states_of(message["methodResponses"]))
                except NotNowError:
                    await asyncio.sleep(0.2)
                else:
                    self._asked.pop(0)
                    self.has_view = self.has_view or not self._asked
                self._ask_next()
            case "RequestError":
                self._record.counts["requests refused on a websocket"] += 1
                if message["status"] != 503:
                    self._record.violations.append(f"websocket: {message}")
                await asyncio.sleep(0.2)
                self._ask_next()
            case other:
                self._record.violations.append(f"websocket: {other}")

    def _ask_next(self) -> None:
        if self._asked:
            self._send({"@type": "Request", "using": USING, "methodCalls": self._asked[0]})

    def _send(self, message: Any) -> None:
        if self._framing.state is not OPEN:  # a Close came in the same read
            raise ConnectionResetError
        self._framing.send_text(json.dumps(message).encode())
        self._flush()

    def _flush(self) -> None:
        if self._writer.transport.is_closing():
            raise ConnectionResetError
        self._writer.write(b"".join(self._framing.data_to_send()))


KINDS: tuple[type[ChaosClient], ...] = (EventSourceChaosClient, WebSocketChaosClient)


async def _open_narrow(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose receiver holds little that was not read."""
    sock = socket.socket()
    try:
        sock.setblocking(False)  # noqa: FBT003
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return await asyncio.open_connection(sock=sock, limit=_RECEIVE_BUFFER_BYTES)
    except BaseException:
        sock.close()
        raise
