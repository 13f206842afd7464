"""Requests that share a transaction end as if each had come alone."""

from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.append.rounds import ROUND_STATES_MAX, Asks, merged, rounds_of
from shared.log.event import GivenState


def asks(account: str, type_name: str, state: str, order: int | None = None) -> Asks:
    return Asks(given={account: {type_name: GivenState(state, order)}})


def test_requests_of_different_accounts_share_a_round() -> None:
    requests = [asks(f"a{n}", "Email", "s") for n in range(50)]
    assert rounds_of(requests) == [requests]
    assert len(merged(requests)) == 50


def test_of_one_state_the_last_one_wins_without_orders() -> None:
    requests = [asks("a1", "Email", f"s{n}") for n in range(5)]
    assert rounds_of(requests) == [requests]
    assert merged(requests) == {"a1": {"Email": GivenState("s4")}}


def test_of_one_state_the_greatest_order_wins() -> None:
    requests = [asks("a1", "Email", f"s{n}", n) for n in (3, 5, 4, 5)]
    assert rounds_of(requests) == [requests]
    assert merged(requests) == {"a1": {"Email": GivenState("s5", 5)}}


def test_with_and_without_an_order_are_two_rounds_and_nobody_overtakes() -> None:
    one, two = asks("a1", "Email", "s1", 1), asks("a1", "Email", "s2")
    three, other = asks("a1", "Email", "s3", 3), asks("a2", "Email", "s1")
    assert rounds_of([one, two, three, other]) == [[one, other], [two], [three]]


def test_two_of_one_key_are_two_rounds() -> None:
    request = Asks(given={"a1": {"Email": GivenState("s")}}, key=("u1", "k"))
    other = Asks(given={"a2": {"Email": GivenState("s")}}, key=("u2", "k"))
    assert rounds_of([request, request, other]) == [[request, other], [request]]


def test_a_round_is_bounded_except_for_one_request() -> None:
    states = {f"T{n}": GivenState("s") for n in range(ROUND_STATES_MAX)}
    large = Asks(given={"a1": states})
    small = asks("a2", "Email", "s")
    assert rounds_of([large, small, large]) == [[large], [small], [large]]
    assert rounds_of([small, large, small]) == [[small, small], [large]]


Stored = tuple[str, int | None]


def store(stored: dict[tuple[str, str], Stored], writes: dict[str, dict[str, GivenState]]) -> None:
    """As PostgreSQL does it: newer is a greater order than ever before; without one, anything."""
    for account_id, states in writes.items():
        for type_name, (state) in states.items():
            _, before = stored.get((account_id, type_name), ("", None))
            if state.order is None:
                stored[account_id, type_name] = (state.state, before)
            elif before is None or state.order > before:
                stored[account_id, type_name] = (state.state, state.order)


REQUESTS = st.lists(
    st.builds(
        Asks,
        given=st.dictionaries(
            st.sampled_from(["a1", "a2", "a3"]),
            st.dictionaries(
                st.sampled_from(["Email", "Mailbox"]),
                st.builds(
                    GivenState,
                    st.sampled_from([f"s{n}" for n in range(9)]),
                    st.none() | st.integers(0, 5),
                ),
                min_size=1,
            ),
            min_size=1,
        ),
        key=st.none() | st.sampled_from([("u1", "k1"), ("u1", "k2")]),
    ),
    max_size=12,
)


@given(REQUESTS)
def test_rounds_end_as_one_request_after_the_other_would(requests: list[Asks]) -> None:
    alone: dict[tuple[str, str], Stored] = {}
    for request in requests:
        store(alone, merged([request]))
    together: dict[tuple[str, str], Stored] = {}
    rounds = rounds_of(requests)
    for round_ in rounds:
        store(together, merged(round_))
        keys = [request.key for request in round_ if request.key is not None]
        assert len(keys) == len(set(keys))
    assert together == alone
    assert sum(map(len, rounds)) == len(requests)
