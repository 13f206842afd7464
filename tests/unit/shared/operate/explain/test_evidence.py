from shared.operate.explain.evidence import (
    AccessEvidence,
    Grant,
    GrantChange,
    LaterEvent,
    TypesChange,
    wanted,
)
from tests.support.evidence import EVENT_AT, after, event, subscription

READ = Grant("read", is_subscribed=True)
UNFOLLOWED = Grant("read", is_subscribed=False)


def test_a_grant_is_followed_by_its_owner_or_by_who_is_subscribed() -> None:
    assert READ.is_followed
    assert not UNFOLLOWED.is_followed
    assert Grant("owner", is_subscribed=False).is_followed


def test_the_grant_of_a_time_is_what_the_next_change_found() -> None:
    access = AccessEvidence(
        READ, (GrantChange(after(10), None, UNFOLLOWED), GrantChange(after(20), UNFOLLOWED, READ))
    )
    assert access.at(after(9)) is None
    assert access.at(after(10)) == UNFOLLOWED
    assert access.at(after(30)) == READ


def test_the_types_of_a_time_are_what_the_next_change_found() -> None:
    found = subscription(types=None, types_changes=(TypesChange(after(10), ("Mailbox",)),))
    assert found.types_at(after(9)) == ("Mailbox",)
    assert found.types_at(after(10)) is None


def test_wanted_types() -> None:
    assert wanted({"Email", "Thread"}, None) == {"Email", "Thread"}
    assert wanted({"Email", "Thread"}, ("Thread", "Mailbox")) == {"Thread"}


def test_a_later_event_supersedes_where_it_changed_the_same_type() -> None:
    found = event(later=(LaterEvent(50, {"Thread": "t"}), LaterEvent(51, {"Email": "e"})))
    assert found.superseded_by({"Email"}, 100) == 51
    assert found.superseded_by({"Email"}, 50) is None
    assert found.superseded_by({"Thread", "Email"}, 100) == 50


def test_the_time_of_an_event_is_when_readers_could_have_it() -> None:
    assert event().at == after(0.01)
    assert event(appended_at=None).at == EVENT_AT
    assert event().is_kept
    assert not event(carried_by=50).is_kept
