from hypothesis import given
from hypothesis import strategies as st

from shared.log.event import (
    CarriedState,
    Cause,
    Event,
    OrderedState,
    StoredEvent,
    all_states,
    changed_since,
    decode_event,
    encode_event,
    newest,
    next_event,
    removal_event,
)

AT = "2026-01-01T00:00:00.000Z"

type_names = st.sampled_from(["Email", "Mailbox", "Thread"])
orders = st.integers(1, 30)
states = st.dictionaries(type_names, orders.map(lambda n: OrderedState(f"s{n}", n)), max_size=3)


@given(states, states)
def test_an_event_has_all_states_of_its_account(
    first: dict[str, OrderedState], second: dict[str, OrderedState]
) -> None:
    previous = None
    known: dict[str, OrderedState] = {}
    for sequence, given_states in enumerate((first, second), start=1):
        event = next_event(previous, given_states, at=AT, cause=Cause())
        known = newest(known, given_states)
        if event is not None:
            previous = StoredEvent(sequence, event)
            assert all_states(event) == known


def test_an_event_has_the_published_shape() -> None:
    event = Event(
        changed={"Email": OrderedState("s41", 41), "Mailbox": OrderedState("s41", 41)},
        unchanged={"Thread": CarriedState("s17", 17, 1180)},
        at=AT,
        cause=Cause(method="Email/set", request_id="r1", principal="u1", traceparent="00-1"),
    )

    body = encode_event(event)

    assert body == (
        b'{"changed":{"Email":["s41",41],"Mailbox":["s41",41]},"unchanged":{"Thread":["s17",17,1180]},'
        b'"at":"2026-01-01T00:00:00.000Z","cause":{"method":"Email/set","requestId":"r1",'
        b'"principal":"u1","traceparent":"00-1"}}'
    )
    assert decode_event(body) == event


def test_a_tombstone_says_no_more_than_that_its_account_was_removed() -> None:
    event = removal_event(None, at=AT, cause=Cause(method="tidings account remove"))

    assert event is not None
    assert encode_event(event) == (
        b'{"changed":{},"unchanged":{},"at":"2026-01-01T00:00:00.000Z",'
        b'"cause":{"method":"tidings account remove"},"removed":true}'
    )
    assert decode_event(encode_event(event)) == event


def test_nothing_comes_after_a_tombstone() -> None:
    event = removal_event(None, at=AT, cause=Cause())
    assert event is not None
    tombstone = StoredEvent(7, event)

    assert next_event(tombstone, {"Email": OrderedState("s9", 9)}, at=AT, cause=Cause()) is None
    assert removal_event(tombstone, at=AT, cause=Cause()) is None
    assert changed_since(tombstone, 0) == {}


def test_what_a_later_version_adds_is_read_over() -> None:
    event = decode_event(b'{"changed":{},"unchanged":{},"at":"x","new":1,"cause":{"more":2}}')

    assert event == Event(changed={}, unchanged={}, at="x")


@given(states, states)
def test_the_newest_of_two_is_the_same_from_either_side(
    first: dict[str, OrderedState], second: dict[str, OrderedState]
) -> None:
    merged = newest(first, second)

    assert merged == newest(second, first)
    assert merged.keys() == first.keys() | second.keys()


@given(st.lists(states), st.randoms())
def test_any_order_and_any_repetition_of_appends_ends_at_the_newest(
    mutations: list[dict[str, OrderedState]], random: object
) -> None:
    """The law behind the log: append is idempotent and commutative per (account, type)."""
    shuffled = mutations * 2
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    stored, told = _append_all(shuffled)

    expected: dict[str, OrderedState] = {}
    for mutation in mutations:
        expected = newest(expected, mutation)

    if stored is None:
        assert expected == {}
    else:
        assert changed_since(stored, 0) == {name: state.state for name, state in expected.items()}
    for type_name, history in told.items():
        assert history == sorted(set(history)), type_name


@given(st.lists(states, min_size=1), st.integers(0, 40))
def test_the_last_event_tells_what_every_event_after_a_cursor_told(
    mutations: list[dict[str, OrderedState]], since: int
) -> None:
    previous: StoredEvent | None = None
    missed: dict[str, str] = {}
    for sequence, mutation in enumerate(mutations, start=1):
        event = next_event(previous, mutation, at=AT, cause=Cause())
        if event is None:
            continue
        previous = StoredEvent(sequence, event)
        if sequence > since:
            missed |= {name: state.state for name, state in event.changed.items()}

    assert (changed_since(previous, since) if previous else {}) == missed


def _append_all(
    mutations: list[dict[str, OrderedState]],
) -> tuple[StoredEvent | None, dict[str, list[int]]]:
    previous: StoredEvent | None = None
    told: dict[str, list[int]] = {}
    for sequence, mutation in enumerate(mutations, start=1):
        event = next_event(previous, mutation, at=AT, cause=Cause())
        if event is not None:
            previous = StoredEvent(sequence, event)
            for type_name, state in event.changed.items():
                told.setdefault(type_name, []).append(state.order)
    return previous, told


def trace(number: int, flags: str = "01") -> str:
    return f"00-{number:032x}-{number:016x}-{flags}"


def test_an_event_of_several_mutations_has_the_last_cause_and_links_to_the_others_traces() -> None:
    """Those that somebody looks at."""
    first = Cause(method="a", traceparent=trace(1))
    second = Cause(method="b", traceparent=trace(2, "00"))
    third = Cause(method="c", traceparent=trace(3))

    assert second.after(first) == Cause(method="b", traceparent=trace(2, "00"), links=(trace(1),))
    assert third.after(second) is third
    assert third.after(Cause(method="none")) is third
    assert third.after(second.after(first)).links == (trace(1),)
    assert second.after(third.after(first)).links == (trace(1), trace(3))


def test_the_links_of_a_cause_are_bounded() -> None:
    cause = Cause(traceparent=trace(1))
    for number in range(2, 30):
        cause = Cause(traceparent=trace(number)).after(cause)
    assert cause.links == tuple(trace(number) for number in range(21, 29))
    event = Event(changed={"Email": OrderedState("s1", 1)}, unchanged={}, at=AT, cause=cause)
    assert decode_event(encode_event(event)) == event
