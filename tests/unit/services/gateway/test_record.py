import pytest

from services.gateway.push_connection import PushMessage
from services.gateway.record import (
    NOTHING_KEPT,
    EndedConnection,
    Frame,
    FrameRing,
    Note,
    kept_part,
    packed,
    unpacked,
)
from tests.support.recorded import OpenConnection


@pytest.mark.parametrize(
    "frame",
    [Frame(12345.678, b"data", 4), Frame(0.1, b"", 60_000, 3), Frame(1.0, b"\x00" * 99, 99)],
)
def test_a_frame_is_kept_as_it_was(frame: Frame) -> None:
    assert unpacked(packed(frame.at, frame.data, frame.octets, frame.merged)) == frame


def test_a_count_that_has_no_room_is_cut() -> None:
    assert unpacked(packed(1.0, b"", 0, 10**9)).merged == 2**16 - 1


def test_a_ring_keeps_the_newest() -> None:
    ring = FrameRing()
    frames = [packed(float(at), b"", 0) for at in range(5)]
    for frame in frames:
        ring.append(frame)
    ring.make_room(3)

    assert ring.entries() == tuple(frames[2:])

    ring.make_room(0)
    assert ring.entries() == ()


def test_many_of_a_kind_in_a_row_are_one_entry() -> None:
    ring = FrameRing()
    frame = packed(3.0, b"", 0)
    ring.add_up(Note(1.0, "responses", octets=10, detail="r1"))
    ring.add_up(Note(2.0, "responses", octets=20, detail="r2"))
    ring.append(frame)
    ring.add_up(Note(4.0, "responses", octets=30, detail="r3"))
    ring.add_up(Note(5.0, "other"))

    assert ring.entries() == (
        Note(2.0, "responses", octets=20, count=2, detail="r2"),
        frame,
        Note(4.0, "responses", octets=30, detail="r3"),
        Note(5.0, "other"),
    )


def test_what_is_only_told_is_not_remembered() -> None:
    ring = FrameRing()
    ring.tell(Note(1.0, "ping"))

    assert ring.entries() == ()


def test_where_nothing_is_kept_nothing_is_remembered() -> None:
    NOTHING_KEPT.append(b"")
    NOTHING_KEPT.add_up(Note(1.0, "responses"))
    NOTHING_KEPT.tell(Note(1.0, "ping"))
    NOTHING_KEPT.make_room(0)

    assert (len(NOTHING_KEPT), NOTHING_KEPT.entries()) == (0, ())


def test_an_ended_one_is_as_it_was_but_listens_no_more() -> None:
    connection = OpenConnection(7)
    connection.is_listening, connection.messages, connection.ended_by = True, 3, "ada"
    ended = EndedConnection(connection, 9.0)

    assert (ended.number, ended.messages, ended.ended_by) == (7, 3, "ada")
    assert (ended.ended_at, ended.is_listening) == (9.0, False)
    assert ended.push is connection.push


def test_the_first_states_of_a_large_message_are_kept() -> None:
    first = {"a": {f"T{n}": "s" * 50 for n in range(5)}, "b": {"X": "1" * 100}}
    more = {**first, "c": {"Z": "2" * 1000, "A": "3"}, "d": {"B": "4"}}

    assert kept_part(PushMessage(first, "c")) == PushMessage(first, "c")
    assert kept_part(PushMessage(more, "c")) == PushMessage(first, "c")
    assert kept_part(PushMessage({"a": {"T": "5" * 10_000}}, "c")) == PushMessage({}, "c")
