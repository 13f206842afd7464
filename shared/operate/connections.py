"""The words in which operators and gateways speak of connections (docs/adr/0017); no I/O.

A question goes to all gateways on one subject; each that it concerns answers to the asker's inbox.
Nothing of a credential but its id is said, and nothing of a message but types and states.
"""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

ASK_SUBJECT = "tidings.gateways.ask"
HERE_SUBJECT = "tidings.gateways.here"  # on which gateways tell each other that they are there
ANSWER_CONNECTIONS = 100  # of a page: about 60 kB
# So that an answer is smaller than a message of NATS may be, whatever clients do.
ACCOUNTS_SHOWN_MAX = 100  # of one connection
PENDING_SHOWN_MAX = 100  # states
TYPES_SHOWN_MAX = 20
WATCHED_AT_ONCE_MAX = 200  # moments in one message to a watcher

Transport: TypeAlias = Literal["sse", "websocket"]
Words: TypeAlias = Annotated[str, Meta(max_length=200)]  # of an operator, for the logs


class _Word(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, tag_field="ask"
):
    """Unknown members are for newer processes."""


class ConnectionFilter(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True
):
    """Which connections are meant: those for which all that is given holds."""

    connection: str | None = None  # id
    user: str | None = None  # id or name
    account: str | None = None  # id
    address: str | None = None
    credential: str | None = None  # id
    transport: Transport | None = None
    is_stalled: bool = False  # whose peer takes nothing now


class ListConnections(_Word, frozen=True, kw_only=True, tag="list"):
    """Answered with pages: the newest first, and each gateway's counts in any case."""

    filter: ConnectionFilter
    count: Annotated[int, Meta(ge=0)] = 100  # at most, of each gateway
    phase: Literal["open", "ended"] = "open"


class ShowConnection(_Word, frozen=True, kw_only=True, tag="show"):
    """Answered with Shown, also of one that ended lately, by the gateway whose id it has."""

    connection: str


class CloseConnections(_Word, frozen=True, kw_only=True, tag="close"):
    """Answered with Done. The clients may come again: to keep them out revoke their tokens."""

    filter: ConnectionFilter
    by: Words  # who asks, for the log
    reason: Words = ""


class ResyncConnections(_Word, frozen=True, kw_only=True, tag="resync"):
    """Answered with Done. They join again, and are told the newest state of everything."""

    filter: ConnectionFilter
    by: Words


class WatchConnections(_Word, frozen=True, kw_only=True, tag="watch"):
    """Answered with Watched messages, until `lease_seconds` after it was asked last.

    Ask again, with the same id and inbox, to go on.
    """

    watch: Annotated[str, Meta(min_length=1, max_length=40)]  # an id, by who asks
    filter: ConnectionFilter
    by: Words
    lease_seconds: Annotated[float, Meta(gt=0, le=60)] = 15.0


class Unwatch(_Word, frozen=True, kw_only=True, tag="unwatch"):
    """Is not answered."""

    watch: str


Question: TypeAlias = (
    ListConnections
    | ShowConnection
    | CloseConnections
    | ResyncConnections
    | WatchConnections
    | Unwatch
)


class GatewayFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A process that holds connections."""

    id: str  # the first part of the ids of its connections
    host: str
    started_at: str
    connections: dict[str, int]  # by transport
    users: int
    ended_kept: int  # connections that ended lately, and can be shown
    watches: int  # operators who watch
    cursor: str  # all up to here was passed on to connections
    is_live: bool  # follows the log
    is_draining: bool
    peers: tuple[str, ...] = ()  # other gateways that it knows of


class Moment(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What happened on a connection: a frame that was sent, or something that explains others.

    `kind`: opened, joined, asked (for types, by WebSocket), state, ping, responses, stalled,
    resumed, resynchronised, ended.
    """

    at: str
    kind: str
    cursor: str | None = None  # that was told, or was presented
    changed: dict[str, dict[str, str]] | None = None  # account -> type -> state
    is_cut: bool = False  # `changed` is not all that was told: the frame was large
    octets: int = 0
    merged: int = 0  # changes that waited and were told with this frame
    states: int = 0  # that a join told
    count: int = 1  # of equal ones in a row
    detail: str | None = None


class ConnectionFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One connection in a list."""

    id: str
    gateway: str
    transport: str
    user: str
    user_name: str
    credential: str
    address: str
    opened_at: str
    ended_at: str | None
    end_reason: str | None
    types: tuple[str, ...] | None  # asked for, in a list the first of them; null: all
    type_count: int  # of those that it asked for
    is_listening: bool  # false: a WebSocket that did not enable push, or has ended
    account_count: int  # that it listens to
    messages: int  # StateChanges sent
    merged: int  # changes that waited and were told together
    filtered: int  # changes of its accounts of which it wanted no type
    cursor: str  # all up to here was seen for it, told or of no interest
    told_cursor: str | None  # of the newest StateChange that is remembered
    told_at: str | None
    pending: int  # states that wait
    stalled_seconds: float | None  # its peer has taken nothing for so long
    unsent_octets: int  # written, and not taken by the kernel yet


class ConnectionDetails(ConnectionFacts, frozen=True, kw_only=True, rename="camel"):
    """One connection alone, and its last moments."""

    accounts: tuple[str, ...]  # the first of them
    ping_seconds: int  # 0: none
    closes_after_state: bool
    asked_cursor: str | None  # presented when it first joined
    joined_at: str | None
    outcome: str | None  # of that join: fresh, resumed, reset; null: it has not joined
    missed: int  # states that this join told
    filtered_cursor: str | None  # of the last change of which it wanted no type
    pending_states: dict[str, dict[str, str]]  # the first of them
    pending_because: str | None  # stalled, merging (for some milliseconds), ended
    pings: int
    pinged_at: str | None  # null also where a StateChange was sent later
    ping_milliseconds: float | None  # until a WebSocket answered the last ping
    ended_by: str | None  # the operator who closed it
    moments: tuple[Moment, ...]  # the newest last


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="answer"):
    gateway: GatewayFacts


class Page(_Answer, frozen=True, kw_only=True, tag="page"):
    connections: tuple[ConnectionFacts, ...]
    is_last: bool
    is_more: bool = False  # there are more than were asked for


class Shown(_Answer, frozen=True, kw_only=True, tag="shown"):
    connection: ConnectionDetails | None  # null: unknown here


class Done(_Answer, frozen=True, kw_only=True, tag="done"):
    connections: tuple[str, ...]  # ids of the first of those to which it was done
    count: int  # of all


class Refused(_Answer, frozen=True, kw_only=True, tag="refused"):
    reason: str
    is_busy: bool = False  # asked again a moment later, it does it


class WatchedMoment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    connection: str
    user: str
    user_name: str
    transport: str
    moment: Moment


class Watched(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="answer", tag="watched"
):
    """What happened since the last of them; sent also when nothing did, so that one is missed."""

    gateway: str  # id
    number: int  # 1, 2, 3 … of this watch and gateway: a hole is a message that was lost
    connections: int  # watched now
    dropped: int  # moments that were lost since the last message, because there were too many
    moments: tuple[WatchedMoment, ...]


Answer: TypeAlias = Page | Shown | Done | Refused | Watched

_encoder = msgspec.json.Encoder()
_questions = msgspec.json.Decoder(Question)
_answers = msgspec.json.Decoder(Answer)


def gateway_of(connection_id: str) -> str:
    """The id of the gateway that holds or held it."""
    return connection_id.partition("-")[0]


def encode_question(question: Question) -> bytes:
    return _encoder.encode(question)


def decode_question(body: bytes) -> Question:
    """Raises msgspec.MsgspecError."""
    question: Question = _questions.decode(body)
    return question


def encode_answer(answer: Answer) -> bytes:
    return _encoder.encode(answer)


def decode_answer(body: bytes) -> Answer:
    """Raises msgspec.MsgspecError."""
    answer: Answer = _answers.decode(body)
    return answer
