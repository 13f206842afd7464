"""What operators read of a connection."""

from datetime import UTC, datetime

import pytest

from services.gateway.facts import Wall, details_of, facts_of, matches
from services.gateway.frames import chunk, push_messages, state_events
from services.gateway.push_connection import (
    Change,
    EndReason,
    PushMessage,
    PushOptions,
)
from services.gateway.record import EndedConnection, Entry, FrameRing, Joining, Note, packed
from shared.operate.connections import ConnectionFilter, Moment
from tests.support.recorded import OpenConnection

GATEWAY = "4k2m9x"
WALL = Wall(100.0, datetime(2026, 1, 1, tzinfo=UTC))


def listening(options: PushOptions | None = None) -> OpenConnection:
    connection = OpenConnection(33, "anna", at=40.0, options=options)
    connection.account_ids, connection.is_listening = frozenset({"a1", "a2"}), True
    connection.joining = Joining(41.0, "c5", "resumed", 2)
    connection.push.resume()
    return connection


def remember(connection: OpenConnection, *entries: Entry) -> None:
    connection.ring = FrameRing(entries)


def test_times_of_the_day_are_told() -> None:
    facts = facts_of(listening(), GATEWAY, WALL, unsent_octets=7)

    assert facts.id == "4k2m9x-11"
    assert facts.opened_at == "2025-12-31T23:59:00.000Z"
    assert facts.ended_at is None
    assert facts.unsent_octets == 7


@pytest.mark.parametrize("is_websocket", [False, True])
def test_a_frame_tells_what_its_client_read(is_websocket: bool) -> None:  # noqa: FBT001
    record = listening()
    message = PushMessage({"a1": {"Email": "s1", "Mailbox": "s2"}}, "1.abc.7")
    encode = push_messages if is_websocket else lambda m: map(chunk, state_events(m))
    data = b"".join(encode(message))
    remember(
        record,
        packed(99.0, data, 9999),
        Note(99.5, "joined", "c", states=2, detail="resumed"),
        packed(100.0, data, len(data), 3),
    )

    details = details_of(record, GATEWAY, WALL)

    assert details.told_cursor == "1.abc.7"
    assert details.told_at == "2026-01-01T00:00:00.000Z"
    assert details.moments == (
        Moment(
            at="2025-12-31T23:59:59.000Z",
            kind="state",
            cursor="1.abc.7",
            changed={"a1": {"Email": "s1", "Mailbox": "s2"}},
            is_cut=True,
            octets=9999,
        ),
        Moment(
            at="2025-12-31T23:59:59.500Z", kind="joined", cursor="c", states=2, detail="resumed"
        ),
        Moment(
            at="2026-01-01T00:00:00.000Z",
            kind="state",
            cursor="1.abc.7",
            changed={"a1": {"Email": "s1", "Mailbox": "s2"}},
            octets=len(data),
            merged=3,
        ),
    )


@pytest.mark.parametrize("length", [1, 60, 200, 70_000])
def test_any_length_of_a_frame_is_read(length: int) -> None:
    record = listening()
    data = b"".join(push_messages(PushMessage({"a1": {"Email": "s" * length}}, "1.abc.7")))
    remember(record, packed(99.0, data, len(data)), Note(99.5, "ping"))

    assert facts_of(record, GATEWAY, WALL).told_cursor == "1.abc.7"


def test_it_is_said_why_something_waits() -> None:
    record = listening()
    assert details_of(record, GATEWAY, WALL).pending_because is None
    record.push.receive(Change("a1", {"Email": "s1"}, "c6"), 90.0)
    record.push.receive(Change("a1", {"Email": "s2", "Mailbox": "s3"}, "c7"), 90.0)
    assert details_of(record, GATEWAY, WALL).pending_because == "merging"

    record.push.pause(90.5)
    details = details_of(record, GATEWAY, WALL)
    assert details.pending_because == "stalled"
    assert details.stalled_seconds == 9.5
    assert details.pending_states == {"a1": {"Email": "s2", "Mailbox": "s3"}}
    assert (details.pending, details.cursor) == (2, "c7")

    record.push.end(EndReason.STALLED, 95.0)
    details = details_of(EndedConnection(record, 95.0), GATEWAY, WALL)
    assert details.pending_because == "ended"
    assert details.stalled_seconds is None
    assert (details.end_reason, details.pending) == ("stalled", 2)
    assert details.is_listening is False


def test_what_was_of_no_interest_is_counted() -> None:
    record = listening(PushOptions(types=frozenset({"Mailbox", "Email"})))
    record.push.receive(Change("a1", {"Thread": "s1"}, "c6"), 90.0)
    record.push.receive(Change("a1", {"Thread": "s2"}, "c7"), 90.0)
    record.push.receive(Change("a1", {"Email": "s2"}, "c8"), 90.0)

    details = details_of(record, GATEWAY, WALL)

    assert (details.filtered, details.filtered_cursor) == (2, "c7")
    assert details.types == ("Email", "Mailbox")


def test_one_that_never_joined_says_so() -> None:
    record = listening()
    record.joining = None
    record.is_listening = False

    details = details_of(record, GATEWAY, WALL)

    assert (details.joined_at, details.outcome, details.asked_cursor) == (None, None, None)
    assert details.missed == 0
    assert details.stalled_seconds is None
    assert details.is_listening is False


def test_pings_are_told() -> None:
    record = listening()
    assert details_of(record, GATEWAY, WALL).pinged_at is None
    record.push.last_event_at, record.pings, record.pong_seconds = 98.0, 1, 0.0123

    details = details_of(record, GATEWAY, WALL)

    assert (details.pings, details.pinged_at) == (1, "2025-12-31T23:59:58.000Z")
    assert details.ping_milliseconds == 12.3

    data = b"".join(state_events(PushMessage({}, "1.abc.7")))
    remember(record, packed(98.0, data, 0))
    assert details_of(record, GATEWAY, WALL).pinged_at is None, "the last event was no ping"


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        (ConnectionFilter(), True),
        (ConnectionFilter(user="anna"), True),
        (ConnectionFilter(user="bob"), False),
        (ConnectionFilter(account="a2"), True),
        (ConnectionFilter(account="a3"), False),
        (ConnectionFilter(address="192.0.2.1"), True),
        (ConnectionFilter(address="192.0.2.2"), False),
        (ConnectionFilter(credential="t-anna"), True),
        (ConnectionFilter(credential="t-bob"), False),
        (ConnectionFilter(transport="sse"), True),
        (ConnectionFilter(transport="websocket"), False),
        (ConnectionFilter(is_stalled=True), False),
        (ConnectionFilter(connection="4k2m9x-11"), True),
        (ConnectionFilter(connection="4k2m9x-12"), False),
        (ConnectionFilter(user="anna", account="a3"), False),
    ],
)
def test_all_that_a_filter_says_must_hold(wanted: ConnectionFilter, *, is_meant: bool) -> None:
    assert matches(listening(), wanted, GATEWAY) is is_meant


def test_a_stalled_one_is_found() -> None:
    record = listening()
    record.push.pause(99.0)

    assert matches(record, ConnectionFilter(is_stalled=True), GATEWAY)
