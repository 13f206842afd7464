"""What is remembered of a connection, to tell an operator why a push did or did not arrive; no I/O.

Its facts, and a ring of its last frames as they were sent. A kept frame is one object for all
connections that got it, so an entry costs a pointer, unless nobody else was told the same.
"""

import struct
from typing import Protocol, TypeAlias

import msgspec

from services.gateway.push_connection import PushConnection, PushMessage

FRAME_OCTETS_MAX = 1024  # of a larger one only the first states are kept
FRAMES_KEPT = 32  # of a connection
_HEAD = struct.Struct("<dIH")  # of a kept frame: at, octets, merged
_MERGED_TOLD_MAX = 2**16 - 1


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


class Frame(msgspec.Struct, frozen=True):
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


Entry: TypeAlias = bytes | Note
"""Bytes are a frame, `packed`: half the memory of an object with fields."""


def packed(at: float, data: bytes, octets: int, merged: int = 0) -> bytes:
    """The fields of a Frame."""
    return _HEAD.pack(at, octets, min(merged, _MERGED_TOLD_MAX)) + data


def unpacked(entry: bytes) -> Frame:
    at, octets, merged = _HEAD.unpack_from(entry)
    return Frame(at, entry[_HEAD.size :], octets, merged)


class Ring(Protocol):
    """The last entries, the newest last; whoever watches puts itself in its place."""

    def __len__(self) -> int: ...

    def append(self, entry: Entry, /) -> None: ...

    def make_room(self, kept: int, /) -> None:
        """Forget all but the newest `kept`."""

    def add_up(self, note: Note, /) -> None:
        """As `append`; many of a kind in a row are one entry."""

    def tell(self, note: Note, /) -> None:
        """Only whoever watches gets it."""

    def entries(self) -> tuple[Entry, ...]: ...


class FrameRing(list[Entry]):
    """Who appends makes room: a list takes a tenth of a deque's memory while it is short."""

    __slots__ = ()

    def make_room(self, kept: int) -> None:
        del self[: len(self) - kept]

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


class NoRing:
    """Where nothing is to be remembered."""

    __slots__ = ()

    def __len__(self) -> int:
        return 0

    def append(self, entry: Entry) -> None: ...

    def make_room(self, kept: int) -> None: ...

    def add_up(self, note: Note) -> None: ...

    def tell(self, note: Note) -> None: ...

    def entries(self) -> tuple[Entry, ...]:
        return ()


NOTHING_KEPT = NoRing()


class Joining(msgspec.Struct, frozen=True, gc=False):
    """How it first joined."""

    at: float
    cursor: str | None  # that was presented
    outcome: str
    missed: int  # states that it was told then


class Recorded(Protocol):
    """A connection, open or ended, as far as operators may ask about it."""

    number: int  # of this gateway's connections
    ring: Ring | None  # made with the first entry

    @property
    def kind(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def holder(self) -> Holder: ...
    @property
    def push(self) -> PushConnection: ...
    @property
    def account_ids(self) -> frozenset[str]: ...  # that it listens to
    @property
    def is_listening(self) -> bool: ...  # has joined; a WebSocket has to ask for it
    @property
    def joining(self) -> Joining | None: ...
    @property
    def messages(self) -> int: ...  # StateChanges sent
    @property
    def pings(self) -> int: ...
    @property
    def pong_seconds(self) -> float | None: ...  # until a WebSocket answered the last one
    @property
    def ended_at(self) -> float | None: ...
    @property
    def ended_by(self) -> str | None: ...  # an operator


class EndedConnection:
    """What is kept of one when its transport is gone."""

    __slots__ = (
        "account_ids",
        "address",
        "ended_at",
        "ended_by",
        "holder",
        "is_listening",
        "joining",
        "kind",
        "messages",
        "number",
        "pings",
        "pong_seconds",
        "push",
        "ring",
    )

    def __init__(self, open_one: Recorded, ended_at: float) -> None:
        self.number = open_one.number
        self.kind = open_one.kind
        self.address = open_one.address
        self.holder = open_one.holder
        self.push = open_one.push
        self.account_ids = open_one.account_ids
        self.is_listening = False
        self.joining = open_one.joining
        self.messages = open_one.messages
        self.ring = open_one.ring
        self.pings = open_one.pings
        self.pong_seconds = open_one.pong_seconds
        self.ended_at = ended_at
        self.ended_by = open_one.ended_by


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
