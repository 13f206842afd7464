from services.gateway.push_connection import PushConnection, PushMessage, PushOptions
from services.gateway.record import ConnectionRecord, Frame, FrameRing, Note, kept_part
from tests.support.gateway import credential_of


def record() -> ConnectionRecord:
    push = PushConnection(PushOptions(), 0.0)
    return ConnectionRecord(1, 0.0, push, credential_of("anna"), kind="sse", address="::1")


def test_a_ring_remembers_the_newest_frames() -> None:
    ring = FrameRing(maxlen=3)
    frames = [Frame(float(at), b"", 0) for at in range(5)]
    for frame in frames:
        ring.append(frame)

    assert ring.entries() == tuple(frames[2:])


def test_many_of_a_kind_in_a_row_are_one_entry() -> None:
    ring = FrameRing(maxlen=32)
    ring.add_up(Note(1.0, "responses", octets=10, detail="r1"))
    ring.add_up(Note(2.0, "responses", octets=20, detail="r2"))
    ring.append(Frame(3.0, b"", 0))
    ring.add_up(Note(4.0, "responses", octets=30, detail="r3"))
    ring.add_up(Note(5.0, "other"))

    assert ring.entries() == (
        Note(2.0, "responses", octets=20, count=2, detail="r2"),
        Frame(3.0, b"", 0),
        Note(4.0, "responses", octets=30, detail="r3"),
        Note(5.0, "other"),
    )


def test_a_ring_of_nothing_remembers_nothing() -> None:
    ring = FrameRing(maxlen=0)
    ring.add_up(Note(1.0, "responses"))
    ring.add_up(Note(2.0, "responses"))
    ring.append(Frame(3.0, b"", 0))

    assert ring.entries() == ()


def test_what_is_only_told_is_not_remembered() -> None:
    told = record()
    told.ping(1.0)
    told.ring = FrameRing(maxlen=4)
    told.ping(2.0)

    assert (told.pings, told.pinged_at) == (2, 2.0)
    assert told.ring.entries() == ()


def test_who_stops_to_listen_has_no_accounts() -> None:
    told = record()
    told.account_ids, told.is_listening = frozenset({"a"}), True

    told.stop_listening()

    assert (told.account_ids, told.is_listening) == (frozenset(), False)


def test_the_first_states_of_a_large_message_are_kept() -> None:
    first = {"a": {f"T{n}": "s" * 50 for n in range(5)}, "b": {"X": "1" * 100}}
    more = {**first, "c": {"Z": "2" * 1000, "A": "3"}, "d": {"B": "4"}}

    assert kept_part(PushMessage(first, "c")) == PushMessage(first, "c")
    assert kept_part(PushMessage(more, "c")) == PushMessage(first, "c")
    assert kept_part(PushMessage({"a": {"T": "5" * 10_000}}, "c")) == PushMessage({}, "c")
