from shared.operate.explain.connection_case import time_of
from tests.support.evidence import (
    NOW,
    SEQUENCE,
    after,
    connected,
    connection,
    cursor,
    event,
    frame,
)


def test_who_has_reached_the_event() -> None:
    case = connected()
    assert case.has_reached(cursor(SEQUENCE))
    assert not case.has_reached(cursor(SEQUENCE - 1))
    assert not case.has_reached("1.other.99")
    assert not case.has_reached("no cursor")
    assert not case.has_reached(None)


def test_it_was_told_by_the_first_frame_that_has_its_account_and_type() -> None:
    other = frame(1, SEQUENCE + 1, changed={"a2": {"Email": "e"}})
    none = frame(1.5, SEQUENCE + 1, changed=None)
    cut = frame(2, SEQUENCE + 2, changed={}, is_cut=True)
    assert connected(other, none).told_by is None
    assert connected(frame(0, SEQUENCE - 1), other, cut).told_by == cut
    first = frame()
    assert connected(first, frame(3, SEQUENCE + 3)).told_by == first


def test_frames_are_remembered_from_before_the_event_or_all_of_them() -> None:
    assert connected().is_remembered
    assert connected(connection=connection(frame(), messages=1)).is_remembered
    assert not connected(connection=connection(frame(), messages=40)).is_remembered
    older = connection(frame(0, SEQUENCE - 1), frame(), messages=40)
    assert connected(connection=older).is_remembered


def test_of_very_many_types_only_the_first_are_known() -> None:
    many = {"types": ("Mailbox",), "type_count": 30}
    assert connected(connection=connection(**many)).types == {"Email"}, "it may be among the others"
    here = connection(**many, filtered_cursor=cursor(SEQUENCE))
    assert connected(connection=here).types == set()
    assert connected(connection=connection(types=("Mailbox",), type_count=1)).types == set()


def test_a_newer_state() -> None:
    assert not connected().is_newer(frame())
    assert connected().is_newer(frame(changed={"a1": {"Email": "s42"}}))


def test_times() -> None:
    assert time_of(None) is None
    assert time_of("2026-01-01T12:00:05.000Z") == after(5)
    assert connected(event=event(appended_at=None, committed_at=None)).at == NOW
