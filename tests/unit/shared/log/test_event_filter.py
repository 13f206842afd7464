import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log.event import Cause, Event, OrderedState, StoredEvent, encode_event
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


NAMES = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=4)
SOUGHT = st.none() | st.frozensets(NAMES, max_size=2)


@given(NAMES, NAMES, NAMES, SOUGHT, SOUGHT, SOUGHT)
def test_what_passes_has_a_body_that_may_pass(
    type_name: str,
    method: str,
    principal: str,
    types: frozenset[str] | None,
    methods: frozenset[str] | None,
    principals: frozenset[str] | None,
) -> None:
    cause = Cause(method=method, principal=principal)
    event = Event(changed={type_name: OrderedState("s", 1)}, unchanged={}, at="", cause=cause)
    wanted = EventFilter(types=types, methods=methods, principals=principals)

    if wanted.passes("a", StoredEvent(1, event)):
        assert wanted.body_test()(encode_event(event))
    exact = EventFilter(types=of(type_name), methods=of(method), principals=of(principal))
    assert exact.body_test()(encode_event(event))


def test_a_body_without_what_is_asked_for_cannot_pass() -> None:
    body = encode_event(EVENT.event)

    assert EventFilter().body_test()(body)
    assert EventFilter(types=of("Thread", "Email")).body_test()(body)
    assert not EventFilter(types=of("Emai")).body_test()(body)
    assert not EventFilter(types=of("Email"), principals=of("bob")).body_test()(body)
