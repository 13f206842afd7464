"""One connected client: a transport below, the fan-out above, a PushConnection to decide."""

import asyncio
import math
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from services.gateway.admission import Place
from services.gateway.push_connection import Change, Due, EndReason, PushConnection, PushMessage
from services.gateway.record import (
    FRAME_OCTETS_MAX,
    Holder,
    Joining,
    Note,
    Ring,
    kept_part,
    packed,
)

WRITE_BUFFER_BYTES_MAX = 16 * 1024  # more than this unsent: the peer is slow
SEND_BUFFER_BYTES = 32 * 1024  # the kernel's part, which else grows to megabytes
LINGER_SECONDS_MAX = 10.0  # for the peer to take the last bytes before it is cut off
UNACKNOWLEDGED_MILLISECONDS = 30_000  # TCP_USER_TIMEOUT: a peer that vanished
STALL_NOTED_SECONDS = 1.0  # a shorter stall would push frames out of the ring that explain more
UNKNOWN_CURSOR = ""  # is answered with all there is


class Update(Protocol):
    """What the fan-out gives: one event of the log."""

    @property
    def account_id(self) -> str: ...
    @property
    def changed(self) -> Mapping[str, str]: ...
    @property
    def cursor(self) -> str: ...


class Switchboard(Protocol):
    """What a channel needs of the registry that holds it."""

    now: Callable[[], float]
    frames_kept: int
    update: Update | None
    change: Change  # of `update`

    def change_of(self, update: Update) -> Change: ...
    def schedule(self, channel: "PushChannel") -> None: ...
    def flush_soon(self, channel: "PushChannel") -> None: ...
    def rejoin_soon(self, channel: "PushChannel") -> None: ...
    def discard(self, channel: "PushChannel") -> None: ...
    def next_number(self) -> int: ...
    def ring_with_room(self, ring: Ring | None) -> Ring: ...


class PushChannel(asyncio.Protocol):
    """What SSE and WebSocket have in common; a subclass knows the bytes.

    It never waits: while its transport is paused the PushConnection merges.
    """

    __slots__ = (
        "account_ids",
        "asked_cursor",
        "deadline_at",
        "deadline_key",
        "ended_by",
        "frame_key",
        "holder",
        "joining",
        "merges_told",
        "messages",
        "number",
        "pings",
        "place",
        "push",
        "ring",
        "switchboard",
        "transport",
    )
    kind = ""  # of the metrics
    wants_push = True
    ended_at = None  # as long as it is one of these
    pong_seconds: float | None = None
    transport: Any  # asyncio.Transport, or what imitates one

    def __init__(
        self, switchboard: Switchboard, push: PushConnection, holder: Holder, place: Place
    ) -> None:
        self.switchboard = switchboard
        self.push = push
        self.holder = holder
        self.place = place
        self.transport = None
        self.frame_key: object = (push.options.types, self.kind)  # of equal frames
        self.account_ids: frozenset[str] = frozenset()  # that it listens to
        self.asked_cursor: str | None = None  # to join with, instead of its own
        self.messages = 0  # StateChanges sent
        self.merges_told = 0  # of those that `push` counts
        self.pings = 0
        self.number = switchboard.next_number()
        self.ring: Ring | None = None
        self.joining: Joining | None = None
        self.ended_by: str | None = None  # an operator
        self.deadline_at = math.inf
        self.deadline_key: int | None = None

    # What a subclass knows.

    def frames_of(self, message: PushMessage) -> Iterable[bytes]:
        raise NotImplementedError

    def ping_frame(self) -> bytes:
        raise NotImplementedError

    def end_frame(self, reason: EndReason) -> bytes:
        """The last bytes, before a clean close."""
        raise NotImplementedError

    def encoded(self, change: Change, now: float) -> tuple[bytes, bytes]:
        """The change cut to the types; kept for all connections of this kind and these types."""
        types = self.push.options.types
        wanted = change.changed if types is None else change.wanted(types)
        message = PushMessage({change.account_id: wanted}, change.cursor)
        data = b"".join(self.frames_of(message))
        octets = len(data)
        if octets <= FRAME_OCTETS_MAX:
            entry = packed(now, data, octets)
        else:
            entry = self._kept_part(message, octets, now)
        found = change.frames[self.frame_key] = (data, entry)
        return found

    # From the fan-out.

    def receive(self, update: Update) -> None:
        """The hot path: once per delivery."""
        board = self.switchboard
        change = board.change if update is board.update else board.change_of(update)
        now = board.now()
        if self.push.receive(change, now):
            data, entry = change.frames.get(self.frame_key) or self.encoded(change, now)
            self.transport.write(data)
            self.messages += 1
            ring = self.ring
            if ring is None or len(ring) >= board.frames_kept:
                ring = self.ring = board.ring_with_room(ring)
            ring.append(entry)
            if self.push.end_reason is not None:
                self.end(EndReason.STATE_SENT)
        elif self.push.flush_at != math.inf:
            board.flush_soon(self)

    def cursor_to_join(self) -> str | None:
        """Where to go on when it joins again."""
        asked, self.asked_cursor = self.asked_cursor, None
        return asked if asked is not None else self.push.cursor or None

    @property
    def address(self) -> str:
        """Of the peer."""
        return self.place.address

    @property
    def is_listening(self) -> bool:
        """Is told of changes."""
        return self.wants_push and self.joining is not None

    @property
    def unsent_octets(self) -> int:
        """Written, and not taken by the kernel yet."""
        return 0 if self.transport is None else int(self.transport.get_write_buffer_size())

    def resync(self, by: str) -> None:
        """An operator wants it to be told everything again."""
        self.note(Note(self.switchboard.now(), "resynchronised", detail=by))
        self.asked_cursor = UNKNOWN_CURSOR
        self.switchboard.rejoin_soon(self)

    def resynchronise(self) -> None:
        self.switchboard.rejoin_soon(self)

    # From the registry.

    def open(self, head: bytes) -> None:
        """Send the head of the response, and with it what was missed."""
        self.push.resume()
        self.switchboard.schedule(self)
        if not self._write_pending(head, self.switchboard.now()) and head:
            self.transport.write(head)

    def flush(self, now: float) -> None:
        self._write_pending(b"", now)

    def _write_pending(self, head: bytes, now: float) -> bool:
        """In one write, which is one system call; False: nothing is due."""
        message = self.push.take(now)
        if message is None:
            return False
        frames = b"".join(self.frames_of(message))
        self.transport.write(head + frames)
        self._sent(message, frames, now)
        if self.push.is_over:
            self.end(EndReason.STATE_SENT)
        return True

    def wake(self, now: float) -> None:
        match self.push.wake(now):
            case Due.PING:
                self.transport.write(self.ping_frame())
                self.pings += 1
                self.tell(Note(now, "ping"))
            case Due.END:
                self.end(EndReason.LIFETIME)
            case Due.NOTHING:
                pass

    def end(self, reason: EndReason) -> None:
        """Tell what is pending and close, or just close when the peer takes nothing."""
        transport, self.transport = self.transport, None
        now = self.switchboard.now()
        last = self.push.end(reason, now)
        frames = b"" if last is None or transport is None else b"".join(self.frames_of(last))
        if last is not None and frames:
            self._sent(last, frames, now)
        self.switchboard.discard(self)
        if transport is None:  # not open yet, or over
            return
        if self.push.end_reason is EndReason.STALLED:
            transport.abort()
            return
        if not self.push.is_paused:
            transport.write(frames + self.end_frame(self.push.end_reason or reason))
        self.close_transport(transport)

    # What is remembered.

    def note(self, note: Note) -> None:
        self._room().append(note)

    def note_joined(self, cursor: str | None, outcome: str, missed: int) -> None:
        """`cursor`: that the client presented, or how far it was."""
        note = Note(self.switchboard.now(), "joined", cursor or None, states=missed, detail=outcome)
        if self.joining is None:
            self.joining = Joining(note.at, note.cursor, outcome, missed)
            self.tell(note)
        else:
            self.note(note)

    def add_up(self, note: Note) -> None:
        """As `note`; many of a kind in a row are one."""
        self._room().add_up(note)

    def tell(self, note: Note) -> None:
        """Whoever watches, only."""
        if self.ring is not None:
            self.ring.tell(note)

    def _room(self) -> Ring:
        if self.ring is None or len(self.ring) >= self.switchboard.frames_kept:
            self.ring = self.switchboard.ring_with_room(self.ring)
        return self.ring

    def _sent(self, message: PushMessage, data: bytes, now: float) -> None:
        merges = self.push.merges
        merged, self.merges_told = merges - self.merges_told, merges
        self.messages += 1
        octets = len(data)
        if octets <= FRAME_OCTETS_MAX:
            entry = packed(now, data, octets, merged)
        else:
            entry = self._kept_part(message, octets, now, merged)
        self._room().append(entry)

    def _kept_part(self, message: PushMessage, octets: int, now: float, merged: int = 0) -> bytes:
        data = b"".join(self.frames_of(kept_part(message)))
        return packed(now, data, octets, merged)

    def close_transport(self, transport: Any) -> None:  # noqa: ANN401
        close_in_time(transport)

    # From the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        bound_buffers(cast("asyncio.WriteTransport", transport))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None
        self.push.end(EndReason.CLIENT, self.switchboard.now())
        self.switchboard.discard(self)

    def pause_writing(self) -> None:
        self.tell(Note(self.switchboard.now(), "stalled"))
        self.hold()

    def hold(self) -> None:
        """Only merge, until `resume_writing`."""
        self.push.pause(self.switchboard.now())
        self.switchboard.schedule(self)

    def resume_writing(self) -> None:
        now = self.switchboard.now()
        stalled_seconds = now - (self.push.paused_at or now)
        if stalled_seconds >= STALL_NOTED_SECONDS:
            self.note(Note(now, "resumed", detail=f"after {stalled_seconds:.1f} s"))
        self.push.resume()
        self.flush(now)
        self.switchboard.schedule(self)
        if self.push.flush_at != math.inf:
            self.switchboard.flush_soon(self)


def close_in_time(transport: Any) -> None:  # noqa: ANN401
    """Close it once the peer took what was written, but do not wait for that for ever."""
    if transport.get_write_buffer_size():
        asyncio.get_running_loop().call_later(LINGER_SECONDS_MAX, transport.abort)
    transport.close()


def bound_buffers(transport: asyncio.WriteTransport) -> None:
    """Little of a slow peer's backlog is held here and in the kernel; a vanished one is noticed."""
    transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX)
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if sys.platform == "linux" and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)
