from hypothesis import given
from hypothesis import strategies as st

from services.gateway.recent_events import RecentEvents
from shared.log.event import Cause, OrderedState, StoredEvent, next_event

accounts = st.sampled_from(["a1", "a2", "a3", "a4"])
mutations = st.lists(st.tuples(accounts, st.sampled_from(["Email", "Mailbox"])), max_size=30)


@given(mutations, st.integers(1, 4), st.integers(0, 40))
def test_whatever_is_not_below_the_floor_is_answered_in_full(
    history: list[tuple[str, str]], accounts_max: int, since: int
) -> None:
    recent = RecentEvents(accounts_max, floor=0)
    last: dict[str, StoredEvent] = {}
    missed: dict[str, dict[str, str]] = {}
    for sequence, (account_id, type_name) in enumerate(history, start=1):
        states = {type_name: OrderedState(f"s{sequence}", sequence)}
        event = next_event(last.get(account_id), states, at="", cause=Cause())
        assert event is not None
        last[account_id] = StoredEvent(sequence, event)
        recent.add(account_id, last[account_id])
        if sequence > since:
            missed.setdefault(account_id, {})[type_name] = f"s{sequence}"

    if since >= recent.floor:
        assert recent.changed_since(["a1", "a2", "a3", "a4"], since) == missed
    assert recent.floor == 0 or len(last) > accounts_max
