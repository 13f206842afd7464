"""One connected client: a transport below, the fan-out above, a PushConnection to decide."""

import asyncio
import math
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, cast

from services.gateway.admission import Place
from services.gateway.push_connection import Change, Due, EndReason, PushConnection, PushMessage

WRITE_BUFFER_BYTES_MAX = 16 * 1024  # more than this unsent: the peer is slow
SEND_BUFFER_BYTES = 32 * 1024  # the kernel's part, which else grows to megabytes
LINGER_SECONDS_MAX = 10.0  # for the peer to take the last bytes before it is cut off
UNACKNOWLEDGED_MILLISECONDS = 30_000  # TCP_USER_TIMEOUT: a peer that vanished


class Update(Protocol):
    """What the fan-out gives: one event of the log."""

    @property
    def account_id(self) -> str: ...
    @property
    def changed(self) -> Mapping[str, str]: ...
    @property
    def cursor(self) -> str: ...


class Holder(Protocol):
    """Whose connection it is: the authenticated credential."""

    @property
    def id(self) -> str: ...
    @property
    def user_id(self) -> str: ...
    @property
    def is_kept(self) -> bool: ...


class Switchboard(Protocol):
    """What a channel needs of the registry that holds it."""

    now: Callable[[], float]
    update: Update | None
    change: Change  # of `update`

    def change_of(self, update: Update) -> Change: ...
    def schedule(self, channel: "PushChannel") -> None: ...
    def flush_soon(self, channel: "PushChannel") -> None: ...
    def rejoin_soon(self, channel: "PushChannel") -> None: ...
    def discard(self, channel: "PushChannel") -> None: ...


class PushChannel(asyncio.Protocol):
    """What SSE and WebSocket have in common; a subclass knows the bytes.

    It never waits: while its transport is paused the PushConnection merges.
    """

    __slots__ = (
        "account_ids",
        "deadline_at",
        "deadline_key",
        "frame_key",
        "holder",
        "place",
        "push",
        "states_sent",
        "switchboard",
        "transport",
    )
    kind = ""  # of the metrics
    is_listening = True  # wants to be told of changes
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
        self.states_sent = 0
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

    def encoded(self, change: Change) -> bytes:
        """The change cut to the types; kept for all connections of this kind and these types."""
        types = self.push.options.types
        wanted = change.changed if types is None else change.wanted(types)
        message = PushMessage({change.account_id: wanted}, change.cursor)
        frame = b"".join(self.frames_of(message))
        change.frames[self.frame_key] = frame
        return frame

    # From the fan-out.

    def receive(self, update: Update) -> None:
        """The hot path: once per delivery."""
        board = self.switchboard
        change = board.change if update is board.update else board.change_of(update)
        if self.push.receive(change, board.now()):
            self.transport.write(change.frames.get(self.frame_key) or self.encoded(change))
            self.states_sent += 1
            if self.push.end_reason is not None:
                self.end(EndReason.STATE_SENT)
        elif self.push.flush_at != math.inf:
            board.flush_soon(self)

    def cursor_to_join(self) -> str | None:
        """Where to go on when it joins again."""
        return self.push.cursor or None

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
        self.transport.write(b"".join((head, *self.frames_of(message))))
        self.states_sent += 1
        if self.push.is_over:
            self.end(EndReason.STATE_SENT)
        return True

    def wake(self, now: float) -> None:
        match self.push.wake(now):
            case Due.PING:
                self.transport.write(self.ping_frame())
            case Due.END:
                self.end(EndReason.LIFETIME)
            case Due.NOTHING:
                pass

    def end(self, reason: EndReason) -> None:
        """Tell what is pending and close, or just close when the peer takes nothing."""
        transport, self.transport = self.transport, None
        last = self.push.end(reason, self.switchboard.now())
        self.switchboard.discard(self)
        if transport is None:  # not open yet, or over
            return
        if self.push.end_reason is EndReason.STALLED:
            transport.abort()
            return
        if not self.push.is_paused:
            frames = [] if last is None else self.frames_of(last)
            transport.write(b"".join([*frames, self.end_frame(self.push.end_reason or reason)]))
        self.close_transport(transport)

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
        self.push.pause(self.switchboard.now())
        self.switchboard.schedule(self)

    def resume_writing(self) -> None:
        self.push.resume()
        self.flush(self.switchboard.now())
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
