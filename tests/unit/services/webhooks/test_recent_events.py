from services.webhooks.recent_events import RecentEvents
from shared.log.event import Event, OrderedState, StoredEvent


def event(sequence: int) -> StoredEvent:
    changed = {"Email": OrderedState(f"s{sequence}", sequence)}
    return StoredEvent(sequence, Event(changed=changed, unchanged={}, at="2026-01-01"))


def test_the_event_at_the_fence_is_all_there_is_of_a_single_account() -> None:
    recent = RecentEvents(10)
    recent.add("a1", event(5))

    assert recent.whole(["a1"], 5) == event(5)
    assert recent.whole(["a1"], 6) is None  # something newer is known to be there
    assert recent.whole(["a1"], 4) is None
    assert recent.whole(["a2"], 5) is None
    assert recent.whole(["a1", "a2"], 5) is None  # the other may have changed before
    assert recent.whole([], 5) is None


def test_an_older_event_that_comes_again_is_not_kept() -> None:
    recent = RecentEvents(10)
    recent.add("a1", event(5))
    recent.add("a1", event(3))

    assert recent.whole(["a1"], 5) == event(5)
    assert recent.whole(["a1"], 3) is None


def test_the_accounts_that_changed_longest_ago_are_forgotten() -> None:
    recent = RecentEvents(2)
    for sequence, account_id in enumerate(["a1", "a2", "a1", "a3"], 1):
        recent.add(account_id, event(sequence))

    assert recent.whole(["a2"], 2) is None
    assert recent.whole(["a1"], 3) == event(3)
    assert recent.whole(["a3"], 4) == event(4)
