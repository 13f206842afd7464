import pytest

from services.gateway.record import FrameRing, Note, packed
from services.gateway.watches import (
    WAITING_MAX,
    WATCHED_MAX,
    WATCHES_MAX,
    TooManyWatchesError,
    Watch,
    Watches,
)
from shared.operate.connections import ConnectionFilter, WatchConnections
from tests.support.recorded import OpenConnection

FRAME = packed(1.0, b"", 0)


def new_watches() -> Watches:
    return Watches("4k2m9x", lambda _: FrameRing())


def asked(watch: str = "w", user: str = "anna", lease_seconds: float = 15.0) -> WatchConnections:
    return WatchConnections(
        watch=watch, filter=ConnectionFilter(user=user), by="ada", lease_seconds=lease_seconds
    )


def kinds(watch: Watch, count: int = 1000) -> list[str]:
    told = watch.take(count)
    return ["frame" if isinstance(entry, bytes) else entry.kind for _, entry in told]


def test_who_watches_is_told_what_is_remembered_and_what_is_not() -> None:
    watches, record = new_watches(), OpenConnection(1)
    watch = watches.renew(asked(), "inbox", 0.0)
    watches.watch(watch, record)
    assert record.ring is not None

    record.ring.append(FRAME)
    record.ring.tell(Note(2.0, "ping"))
    record.ring.add_up(Note(3.0, "responses", detail="r1"))
    record.ring.add_up(Note(4.0, "responses", detail="r2"))

    assert kinds(watch) == ["frame", "ping", "responses", "responses"]
    assert record.ring.entries() == (FRAME, Note(4.0, "responses", count=2, detail="r2"))


def test_what_was_remembered_stays_when_nobody_watches_any_more() -> None:
    watches, record = new_watches(), OpenConnection(1)
    ring = record.ring = FrameRing()
    ring.append(FRAME)
    watch = watches.renew(asked(), "inbox", 0.0)
    watches.watch(watch, record)
    record.ring.append(FRAME)
    watches.end("w")
    watches.end("w")

    assert record.ring is ring
    assert ring.entries() == (FRAME, FRAME)
    assert not watches


def test_two_who_watch_are_both_told_and_neither_twice() -> None:
    watches, record = new_watches(), OpenConnection(1)
    both = [watches.renew(asked(name), "inbox", 0.0) for name in ("v", "w")]
    for watch in (*both, *both):
        watches.watch(watch, record)
    assert record.ring is not None
    record.ring.append(FRAME)
    watches.end("v")
    record.ring.append(FRAME)

    assert [kinds(watch) for watch in both] == [["frame"], ["frame", "frame"]]
    assert [watch.connections for watch in both] == [0, 1]


def test_who_is_watched_makes_room_as_others_do() -> None:
    watches, record = new_watches(), OpenConnection(1)
    watches.watch(watches.renew(asked(), "inbox", 0.0), record)
    assert record.ring is not None
    for number in range(10):
        record.ring.append(packed(float(number), b"", 0))
    record.ring.make_room(3)

    assert len(record.ring) == 3
    assert record.ring.entries()[-1] == packed(9.0, b"", 0)


def test_connections_that_come_and_go_are_told_of() -> None:
    watches = new_watches()
    watch = watches.renew(asked(), "inbox", 0.0)
    hers, his = OpenConnection(1), OpenConnection(2, "bob")
    for record in (hers, his):
        watches.opened(record)
    assert watch.connections == 1
    for record in (hers, his):
        watches.ended(record, Note(5.0, "ended"))

    assert kinds(watch) == ["opened", "ended"]
    assert watch.connections == 0
    assert isinstance(hers.ring, FrameRing)


def test_a_watch_ends_unless_it_is_renewed() -> None:
    watches = new_watches()
    watch = watches.renew(asked(lease_seconds=15), "inbox", 0.0)
    assert not watches.end_old(14.9)
    watch.is_confirmed = False
    assert watches.renew(asked(lease_seconds=15), "other", 14.0) is watch
    assert (watch.inbox, watch.is_confirmed) == ("other", True)
    assert not watches.end_old(28.9)

    assert watches.end_old(29.0) == [watch]
    watches.watch(watch, OpenConnection(1))
    assert watch.connections == 0, "it is over"


def test_what_an_operator_does_not_take_is_dropped_and_counted() -> None:
    watches, record = new_watches(), OpenConnection(1)
    watch = watches.renew(asked(), "inbox", 0.0)
    watches.watch(watch, record)
    assert record.ring is not None
    for _ in range(WAITING_MAX + 7):
        record.ring.append(FRAME)

    assert watch.has_news
    assert len(kinds(watch)) == WAITING_MAX
    assert [watch.has_news, watch.take_dropped()] == [True, 7]
    assert [watch.has_news, watch.take_dropped()] == [False, 0]


def test_a_part_of_what_waits_is_taken_in_order() -> None:
    watches, record = new_watches(), OpenConnection(1)
    watch = watches.renew(asked(), "inbox", 0.0)
    watches.watch(watch, record)
    assert record.ring is not None
    for number in range(3):
        record.ring.tell(Note(0.0, str(number)))

    assert [kinds(watch, 2), kinds(watch, 2)] == [["0", "1"], ["2"]]


def test_operators_who_watch_are_not_many() -> None:
    watches = new_watches()
    for number in range(WATCHES_MAX):
        watches.renew(asked(str(number)), "inbox", 0.0)

    assert watches.renew(asked("0"), "inbox", 1.0).until == 16.0
    with pytest.raises(TooManyWatchesError):
        watches.renew(asked("one more"), "inbox", 1.0)


def test_connections_of_a_watch_are_not_too_many() -> None:
    watches = new_watches()
    watch = watches.renew(asked(), "inbox", 0.0)
    for number in range(WATCHED_MAX + 5):
        watches.watch(watch, OpenConnection(number + 1))

    assert watch.connections == WATCHED_MAX
