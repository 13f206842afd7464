"""WebSocket (RFC 6455, RFC 8887) as a channel: frames in and out, requests, pushes."""

import asyncio
import codecs
import contextlib
import logging
from typing import Any, Protocol, cast

import msgspec
from websockets.exceptions import InvalidState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SEND_EOF, SERVER
from websockets.protocol import Protocol as Framing

from services.gateway.admission import Place
from services.gateway.channel import PushChannel, close_in_time
from services.gateway.connections import Connections
from services.gateway.frames import push_messages, text_frame
from services.gateway.push_connection import EndReason, PushConnection, PushMessage, PushOptions
from services.gateway.record import Note
from services.gateway.websocket_messages import (
    LIMIT,
    SERVER_FAIL,
    MessageError,
    PushDisable,
    PushEnable,
    RequestMessage,
    decode_message,
    encode_error,
)
from shared.store.credentials import Credential

_log = logging.getLogger(__name__)

NOTHING: frozenset[str] = frozenset()  # the types of a connection that did not enable push
_CLOSE_SECONDS_MAX = 2.0  # for the peer to answer a Close
_PING_FRAME = b"\x89\x00"
_CLOSE_CODES = {
    EndReason.LIFETIME: CloseCode.SERVICE_RESTART,
    EndReason.REVOKED: CloseCode.POLICY_VIOLATION,  # RFC 8887 section 4.1
    EndReason.OPERATOR: CloseCode.SERVICE_RESTART,
    EndReason.LOST: CloseCode.TRY_AGAIN_LATER,
    EndReason.DRAINING: CloseCode.SERVICE_RESTART,
}


_REQUEST_ID_SHOWN = 64
_TYPES_SHOWN = 20
_CHARACTERS_SHOWN = 200


class Answer(Protocol):
    """The dispatchers, at the other end of NATS."""

    async def __call__(self, holder: Credential, request: RequestMessage) -> bytes:
        """A Response, or a RequestError; raises MessageError."""
        ...


class WebSocketOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What all WebSockets of a process share."""

    push: PushOptions  # before the client asks for more
    message_bytes_max: int
    requests_at_once_max: int


def _in_words(types: frozenset[str] | None) -> str:
    if types is None:
        return "all types"
    more = f" and {len(types) - _TYPES_SHOWN} more" if len(types) > _TYPES_SHOWN else ""
    return ", ".join(sorted(types)[:_TYPES_SHOWN])[:_CHARACTERS_SHOWN] + more


class _Framing(Framing):
    def recv_frame(self, frame: Frame) -> None:
        """A Close may come between the fragments of a message (RFC 6455 section 5.4)."""
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # of the message that stays unfinished
        super().recv_frame(frame)


class _Fragments:
    """A message of which more will come."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def joined(self, octets: bytes, *, is_last: bool) -> bytes:
        """All of it with its last; raises UnicodeDecodeError once no text can go on like this."""
        self._decoder.decode(octets, is_last)
        self._octets += octets
        return bytes(self._octets) if is_last else b""


class WebSocketChannel(PushChannel):
    """Requests run beside each other and beside the pushes; a slow peer is read no further."""

    __slots__ = (
        "_answer",
        "_fragments",
        "_framing",
        "_is_cursor_ours",
        "_options",
        "_pinged_at",
        "_requests",
        "_wire",
        "pong_seconds",
        "wants_push",
    )
    kind = "websocket"
    switchboard: Connections
    holder: Credential

    def __init__(
        self,
        switchboard: Connections,
        push: PushConnection,
        holder: Credential,
        place: Place,
        answer: Answer,
        options: WebSocketOptions,
    ) -> None:
        super().__init__(switchboard, push, holder, place)
        self.wants_push = False  # until the client enables push
        self._answer = answer
        self._options = options
        self.pong_seconds = None  # until the last ping was answered
        self._fragments: _Fragments | None = None
        self._is_cursor_ours = False  # the one to join with
        self._pinged_at: float | None = None  # monotonic seconds, until it is answered
        self._requests = 0  # under way
        self._wire: asyncio.Transport | None = None  # outlives `transport` until it is closed
        self._framing = _Framing(
            SERVER, state=OPEN, max_size=options.message_bytes_max, logger=_log
        )

    # Bytes.

    def frames_of(self, message: PushMessage) -> Any:  # noqa: ANN401
        return push_messages(message)

    def ping_frame(self) -> bytes:
        self._pinged_at = self.switchboard.now()
        return _PING_FRAME

    def end_frame(self, reason: EndReason) -> bytes:
        with contextlib.suppress(InvalidState):
            self._framing.send_close(_CLOSE_CODES.get(reason, CloseCode.NORMAL_CLOSURE))
        return b"".join(self._framing.data_to_send())

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._wire = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._framing.receive_data(data)
        for frame in self._framing.events_received():
            if isinstance(frame, Frame) and self._framing.state is OPEN:
                self._take(frame)
        self._write_framing()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._wire is not None:
            self._wire.pause_reading()

    def resume_writing(self) -> None:
        if self._wire is not None:
            self._wire.resume_reading()
        super().resume_writing()

    # From the registry.

    def close_transport(self, transport: Any) -> None:  # noqa: ANN401
        """The peer answers our Close with its own, and only then the connection is closed."""
        if self.push.is_paused:
            close_in_time(transport)
        else:
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS_MAX, close_in_time, transport)

    # Messages.

    def _take(self, frame: Frame) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.CONT:
                self._take_text(bytes(frame.data), is_last=frame.fin)
            case Opcode.BINARY:
                self._framing.fail(CloseCode.UNSUPPORTED_DATA, "JMAP is text")
            case Opcode.PONG if self._pinged_at is not None:
                self.pong_seconds = self.switchboard.now() - self._pinged_at
                self.switchboard.ping_seconds.append(self.pong_seconds)
                self._pinged_at = None
            case _:
                pass  # the framing answers control frames

    def _take_text(self, octets: bytes, *, is_last: bool) -> None:
        """The framing takes care that fragments come in order."""
        try:
            if self._fragments is None and is_last:
                octets.decode()
            else:
                self._fragments = self._fragments or _Fragments()
                octets = self._fragments.joined(octets, is_last=is_last)
        except UnicodeDecodeError:
            self._framing.fail(CloseCode.INVALID_DATA, "not UTF-8")
            return
        if is_last:
            self._fragments = None
            self._receive_message(octets)

    def _receive_message(self, body: bytes) -> None:
        try:
            message = decode_message(body)
            match message:
                case RequestMessage():
                    self._start(message)
                case PushEnable():
                    self._enable(message)
                case PushDisable():
                    self.note(Note(self.switchboard.now(), "asked", detail="no pushes"))
                    self._ask_for(NOTHING)
                    self.wants_push = False
                    self.switchboard.rejoin_soon(self)
        except MessageError as error:
            self._send(encode_error(error))

    def _start(self, request: RequestMessage) -> None:
        if self._requests >= self._options.requests_at_once_max:
            raise MessageError(
                LIMIT,
                f"{self._requests} requests of this connection are being processed.",
                request_id=request.id,
                limit="maxConcurrentRequests",
            )
        self._requests += 1
        self.switchboard.spawn(self._respond(request))

    async def _respond(self, request: RequestMessage) -> None:
        try:
            body = await self._answer(self.holder, request)
        except MessageError as error:
            body = encode_error(error)
        except Exception:  # noqa: BLE001  a bug must not end the other connections
            _log.exception("request_failed")
            failure = MessageError(
                SERVER_FAIL, "An error of the server.", request_id=request.id, status=500
            )
            body = encode_error(failure)
        finally:
            self._requests -= 1
        self._send(body)
        self._note_response(request.id, body)

    def _note_response(self, request_id: str | None, body: bytes) -> None:
        """That there was one, never what it says."""
        name = "" if request_id is None else "request " + request_id[:_REQUEST_ID_SHOWN]
        note = Note(self.switchboard.now(), "responses", octets=len(body), detail=name or None)
        self.add_up(note)

    def _enable(self, asked: PushEnable) -> None:
        """Replaces what was asked before; without a cursor it goes on, or starts from now."""
        self._note_asked(asked)
        if asked.cursor is not None:
            self.asked_cursor = asked.cursor
            self._is_cursor_ours = False
        elif not self.wants_push:
            # Now, not when the join is done: what the client then asks by Request comes after this.
            self.asked_cursor = self.switchboard.cursor
            self._is_cursor_ours = True
        self._ask_for(asked.types)
        self.wants_push = True
        self.switchboard.rejoin_soon(self)

    def note_joined(self, cursor: str | None, outcome: str, missed: int) -> None:
        """Who presented none joined with ours, and is told nothing but what came after it."""
        is_ours, self._is_cursor_ours = self._is_cursor_ours, False
        if is_ours and not missed:
            super().note_joined(None, "fresh", missed)
        else:
            super().note_joined(cursor, outcome, missed)

    def _note_asked(self, asked: PushEnable) -> None:
        """What was asked for first is told by its facts."""
        note = Note(self.switchboard.now(), "asked", asked.cursor, detail=_in_words(asked.types))
        if self.joining is None:
            self.tell(note)
        else:
            self.note(note)

    def _ask_for(self, types: frozenset[str] | None) -> None:
        self.push.ask(msgspec.structs.replace(self.push.options, types=types))
        self.frame_key = (types, self.kind)

    def _send(self, body: bytes) -> None:
        if self._wire is not None and self._framing.state is OPEN:
            self._wire.write(text_frame(body))

    def _write_framing(self) -> None:
        """What the framing has to say; at its end the connection is closed."""
        frames = self._framing.data_to_send()
        is_over = SEND_EOF in frames
        if self._wire is None:
            return
        if frames:
            self._wire.write(b"".join(frames))
        if is_over:
            is_broken = self._framing.parser_exc is not None or self._framing.close_rcvd is None
            self.transport = None
            self.push.end(
                EndReason.PROTOCOL if is_broken else EndReason.CLIENT, self.switchboard.now()
            )
            self.switchboard.discard(self)
            self._hang_up(self._wire, is_broken=is_broken)

    def _hang_up(self, wire: asyncio.Transport, *, is_broken: bool) -> None:
        """A close with data unread would reset the connection, and our Close would be lost."""
        if not is_broken:
            close_in_time(wire)
            return
        if wire.can_write_eof():
            wire.write_eof()
        asyncio.get_running_loop().call_later(_CLOSE_SECONDS_MAX, close_in_time, wire)
