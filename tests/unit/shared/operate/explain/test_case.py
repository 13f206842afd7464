from shared.operate.explain.case import created_later, missing, subscribe_again
from shared.operate.explain.evidence import TypesChange
from shared.operate.explain.words import Reason
from tests.support.evidence import (
    NOW,
    SEQUENCE,
    after,
    attempt,
    case,
    event,
    failure,
    subscription,
    told,
)


def test_what_is_passed_is_told_or_not_for_it() -> None:
    assert not case().is_passed
    assert told().is_passed
    assert case(subscription=subscription(told={"a1": SEQUENCE})).is_passed
    assert not case(subscription=subscription(told={"a2": SEQUENCE})).is_passed


def test_tries_are_the_pushes_that_would_have_told_of_it() -> None:
    tries = told(
        attempt(-5, kind="verification", cursor=0),
        attempt(-1, cursor=SEQUENCE - 1),
        failure(-0.02),  # by a clock behind that of the database
        attempt(2),
    ).tries
    assert [one.at for one in tries] == [after(-0.02), after(2)]


def test_it_was_told_by_the_first_that_was_taken() -> None:
    found = told(failure(1), attempt(2), attempt(3))
    assert found.told_by is not None
    assert found.told_by.at == after(2)
    in_parts = case(subscription=subscription(attempts=(attempt(),), attempts_made=2))
    assert in_parts.told_by is None, "others of its parts were not taken"
    resynced = case(subscription=subscription(cursor=0, attempts=(attempt(),), attempts_made=2))
    assert resynced.told_by is not None
    forgotten = told(attempt(), attempts_made=50)
    assert forgotten.told_by is None, "an earlier one may have told it"
    known = told(attempt(0.01, cursor=SEQUENCE - 1), attempt(), attempts_made=50)
    assert known.told_by is not None


def test_what_was_missing_at_a_time() -> None:
    assert missing(case(), NOW) is None
    changes = (TypesChange(after(10), None), TypesChange(after(20), ("Mailbox",)))
    lane = subscription(types=None, types_changes=changes)
    found = missing(case(subscription=lane), after(15))
    assert found is not None
    assert "types were Mailbox only since 12:00:10Z until 12:00:20Z" in found.headline


def test_an_event_of_unknown_time_counts_as_now() -> None:
    assert case(event=event(committed_at=None, appended_at=None)).at == NOW
    assert case(event=event(sequence=None)).sequence == 0


def test_made_later() -> None:
    found = created_later(after(0), after(5), case().looker, NOW)
    assert found.reason is Reason.CREATED_LATER
    assert "made 12:00:05Z, 5.0 s after the event" in found.headline
    assert subscribe_again().command is None
