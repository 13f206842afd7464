"""What is remembered of a connection, to tell an operator why a push did or did not arrive; no I/O.

Its facts, and a ring of its last frames as they were sent. A frame is one object for all
connections that got it, so an entry costs a pointer, unless nobody else was told the same.
"""

from collections import deque
from typing import Protocol, TypeAlias

import msgspec

from services.gateway.push_connection import PushConnection, PushMessage

FRAME_OCTETS_MAX = 1024  # of a larger one only the first states are kept
FRAMES_KEPT = 32  # of a connection


class Holder(Protocol):
    """Whose connection it is: the authenticated credential."""

    @property
    def id(self) -> str: ...
    @property
    def user_id(self) -> str: ...
    @property
    def user_name(self) -> str: ...
    @property
    def is_kept(self) -> bool: ...


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A StateChange as it was written; `octets` are of all of it, `data` may be a part."""

    at: float  # monotonic seconds
    data: bytes
    octets: int
    merged: int = 0  # changes that waited, and were told with it


class Note(msgspec.Struct, gc=False):
    """Anything else; `kind` is of shared.operate.connections.Moment."""

    at: float
    kind: str
    cursor: str | None = None
    octets: int = 0
    states: int = 0  # that a join told
    count: int = 1
    detail: str | None = None


Entry: TypeAlias = Frame | Note


class Ring(Protocol):
    """The last entries, the newest last; whoever watches puts itself in its place."""

    def append(self, entry: Entry, /) -> None: ...

    def add_up(self, note: Note, /) -> None:
        """As `append`; many of a kind in a row are one entry."""

    def tell(self, note: Note, /) -> None:
        """Only whoever watches gets it."""

    def entries(self) -> tuple[Entry, ...]: ...


class FrameRing(deque[Entry]):
    """Remembers as many as its `maxlen` says."""

    __slots__ = ()

    def add_up(self, note: Note) -> None:
        last = self[-1] if self else None
        if isinstance(last, Note) and last.kind == note.kind:
            note.count += last.count
            self.pop()
        self.append(note)

    def tell(self, note: Note) -> None:
        """Nobody watches."""

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self)


class Joining(msgspec.Struct, frozen=True, gc=False):
    """How it first joined."""

    at: float
    cursor: str | None  # that was presented
    outcome: str
    missed: int  # states that it was told then


class ConnectionRecord:
    """From the opening of a connection on, and for a while after its end."""

    __slots__ = (
        "account_ids",
        "address",
        "ended_at",
        "ended_by",
        "holder",
        "is_listening",
        "joining",
        "kind",
        "merges_told",
        "messages",
        "newest",
        "number",
        "octets",
        "opened_at",
        "ping_seconds",
        "pinged_at",
        "pings",
        "push",
        "ring",
    )

    def __init__(
        self,
        number: int,
        opened_at: float,
        push: PushConnection,
        holder: Holder,
        *,
        kind: str,
        address: str,
    ) -> None:
        self.number = number  # of this gateway's connections
        self.opened_at = opened_at  # monotonic seconds
        self.push = push
        self.holder = holder
        self.kind = kind
        self.address = address
        self.account_ids: frozenset[str] = frozenset()  # that it listens to
        self.is_listening = False  # has joined; a WebSocket has to ask for it
        self.ring: Ring | None = None  # made with the first entry
        self.newest: Frame | None = None  # also when the ring has none of it any more
        self.messages = 0  # StateChanges sent
        self.octets = 0  # of them
        self.merges_told = 0  # of those that `push` counts
        self.joining: Joining | None = None
        self.pings = 0
        self.pinged_at = 0.0
        self.ping_seconds: float | None = None  # until the last one was answered
        self.ended_at: float | None = None
        self.ended_by: str | None = None  # an operator

    def stop_listening(self) -> None:
        self.account_ids = frozenset()
        self.is_listening = False

    def ping(self, now: float) -> None:
        """One was sent."""
        self.pings += 1
        self.pinged_at = now
        self.tell(Note(now, "ping"))

    def tell(self, note: Note) -> None:
        """Whoever watches, only."""
        if self.ring is not None:
            self.ring.tell(note)


def kept_part(message: PushMessage) -> PushMessage:
    """The first states of a message that is too large to be kept."""
    kept: dict[str, dict[str, str]] = {}
    octets = 0
    states = (
        (account_id, name, state)
        for account_id, changed in message.changed.items()
        for name, state in changed.items()
    )
    for account_id, name, state in states:
        octets += len(account_id) + len(name) + len(state)
        if octets > FRAME_OCTETS_MAX // 2:
            break
        kept.setdefault(account_id, {})[name] = state
    return PushMessage(kept, message.cursor)
