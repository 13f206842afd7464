import pytest

from shared.log.event import Cause, Event, OrderedState, StoredEvent
from shared.log.event_filter import EventFilter

EVENT = StoredEvent(
    7,
    Event(
        changed={"Email": OrderedState("s7", 7), "Mailbox": OrderedState("s7", 7)},
        unchanged={},
        at="2026-01-01T00:00:00.500Z",
        cause=Cause(method="Email/set", principal="ada"),
    ),
)


def of(*names: str) -> frozenset[str]:
    return frozenset(names)


@pytest.mark.parametrize(
    "wanted",
    [
        EventFilter(),
        EventFilter(account_ids=of("a", "b")),
        EventFilter(types=of("Thread", "Mailbox")),
        EventFilter(methods=of("Email/set")),
        EventFilter(principals=of("ada", "u1")),
        EventFilter(since="2026-01-01T00:00:00.500Z"),
        EventFilter(until="2026-01-01T00:00:00.501Z"),
        EventFilter(account_ids=of("a"), types=of("Email"), methods=of("Email/set")),
    ],
)
def test_an_event_passes_where_everything_holds(wanted: EventFilter) -> None:
    assert wanted.passes("a", EVENT)


@pytest.mark.parametrize(
    "wanted",
    [
        EventFilter(account_ids=of("b")),
        EventFilter(types=of("Thread")),
        EventFilter(methods=of("Email/import")),
        EventFilter(principals=of("bob")),
        EventFilter(since="2026-01-01T00:00:00.501Z"),
        EventFilter(until="2026-01-01T00:00:00.500Z"),
        EventFilter(account_ids=of("a"), types=of("Thread")),
    ],
)
def test_one_thing_that_does_not_hold_is_enough_to_stop_it(wanted: EventFilter) -> None:
    assert not wanted.passes("a", EVENT)


def test_what_has_no_cause_passes_no_filter_about_causes() -> None:
    plain = StoredEvent(1, Event(changed={}, unchanged={}, at=""))

    assert EventFilter().passes("a", plain)
    assert not EventFilter(methods=of("Email/set")).passes("a", plain)
    assert not EventFilter(principals=of("ada")).passes("a", plain)
