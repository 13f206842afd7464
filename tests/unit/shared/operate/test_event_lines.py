from shared.log.event import Cause, Event, OrderedState, StoredEvent
from shared.operate.event_lines import EventLine, event_line


def test_an_event_is_shown_with_the_cursor_of_who_has_seen_it() -> None:
    event = Event(
        changed={"Email": OrderedState("s2", 2)},
        unchanged={},
        at="2026-01-31T12:00:00.000Z",
        cause=Cause(method="Email/set"),
    )
    assert event_line("e1", "a1", StoredEvent(7, event)) == EventLine(
        cursor="1.e1.7",
        sequence=7,
        at="2026-01-31T12:00:00.000Z",
        account="a1",
        changed={"Email": "s2"},
        cause=Cause(method="Email/set"),
    )
