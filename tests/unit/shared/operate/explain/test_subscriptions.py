import pytest

from shared.operate.explain.evidence import (
    AccessEvidence,
    AttemptEvidence,
    Grant,
    GrantChange,
    LaterEvent,
    MergingEvidence,
    TypesChange,
)
from shared.operate.explain.subscriptions import judge_subscription
from shared.operate.explain.words import Reason, Verdict
from shared.store.waits import WaitsFor
from tests.support.evidence import (
    EVENT_AT,
    SEQUENCE,
    after,
    attempt,
    case,
    event,
    failure,
    subscription,
    told,
)

READ = Grant("read", is_subscribed=True)


def lane(**changes: object) -> Verdict:
    return judge_subscription(case(subscription=subscription(**changes)))


def test_not_appended_comes_first() -> None:
    found = judge_subscription(case(event=event(sequence=None)))
    assert found.reason is Reason.NOT_APPENDED


def test_told() -> None:
    found = judge_subscription(told(attempt()))
    assert found.headline == "Told 12:00:00Z: the endpoint answered 201, 35 ms after the commit"
    assert found.advice[0].command == (
        "tidings replay --account a1 --subscription p1 --after 1.abc.40 --before 1.abc.42 --dry-run"
    )


@pytest.mark.parametrize(
    ("failures", "text"), [(1, "2nd"), (2, "3rd"), (3, "4th"), (10, "11th"), (20, "21st")]
)
def test_told_at_a_later_try(failures: int, text: str) -> None:
    tries = [failure(1 + number) for number in range(failures)]
    found = judge_subscription(told(*tries, attempt(30)))
    assert found.headline.endswith(f", at the {text} try")


def test_told_with_what_came_later() -> None:
    later = (LaterEvent(SEQUENCE + 1, {"Email": "s42"}),)
    found = judge_subscription(
        case(
            event=event(later=later, committed_at=None),
            subscription=told(attempt(cursor=SEQUENCE + 1)).subscription,
        )
    )
    assert found.reason is Reason.TOLD_WITH_LATER
    assert found.headline.endswith("answered 201, to the newer state of event 42")


def test_a_message_that_was_sent_while_its_user_saw_nothing_did_not_tell_it() -> None:
    access = AccessEvidence(READ, (GrantChange(after(10), None, READ),))
    found = judge_subscription(case(subscription=told(attempt()).subscription, access=access))
    assert found.reason is Reason.GRANTED_LATER


def test_told_and_forgotten() -> None:
    found = judge_subscription(told(attempt(30), attempts_made=99))
    assert found.reason is Reason.TOLD_NOT_KEPT
    assert found.headline.startswith("Told, before 12:00:30Z: all of the log up to 41 was told")
    assert judge_subscription(told()).headline.startswith("Told: all")
    carried = judge_subscription(case(event=event(carried_by=50), subscription=told().subscription))
    assert carried.advice[0].command == "tidings subscription resync p1"


def test_passed_without_a_message_since_it_was_not_for_it() -> None:
    removed = AccessEvidence(None, (GrantChange(after(0.1), READ, None),))
    found = judge_subscription(case(subscription=told().subscription, access=removed))
    assert found.reason is Reason.GRANT_REMOVED
    assert judge_subscription(told(types=("Mailbox",))).reason is Reason.FILTERED_BY_TYPE


def test_made_after_the_event() -> None:
    assert judge_subscription(told(created_at=after(1))).reason is Reason.CREATED_LATER
    assert lane(created_at=after(1)).reason is Reason.DUE, "and is told all the same"


@pytest.mark.parametrize(
    ("created", "attempts", "reason"),
    [
        (31, (attempt(40, cursor=60),), Reason.CREATED_LATER),
        (29, (attempt(40, cursor=60),), Reason.NOT_KEPT),
        (29, (attempt(30, cursor=40), attempt(40, cursor=60)), Reason.TOLD),
        (-11, (attempt(40, cursor=60),), Reason.TOLD),
        (-9, (), Reason.NOT_KEPT),
        (-11, (), Reason.TOLD_NOT_KEPT),
    ],
)
def test_of_an_event_that_only_a_later_one_names_bounds_of_its_time_are_known(
    created: float, attempts: tuple[AttemptEvidence, ...], reason: Reason
) -> None:
    carried = event(
        committed_at=None,
        appended_at=None,
        carried_by=50,
        not_before=after(-10),
        not_after=after(30),
    )
    lane = told(*attempts, created_at=after(created)).subscription
    assert judge_subscription(case(event=carried, subscription=lane)).reason is reason


def test_not_wanted_by_what_held_then_or_holds_now() -> None:
    assert lane(types=("Mailbox",)).reason is Reason.FILTERED_BY_TYPE
    widened = {"types": None, "types_changes": (TypesChange(after(10), ("Mailbox",)),)}
    assert lane(**widened).reason is Reason.DUE, "it was merged later, and is told with it"
    unmerged = lane(**widened, target=SEQUENCE - 1)
    assert "types were Mailbox only until 12:00:10Z" in unmerged.headline
    narrowed = lane(types=("Mailbox",), types_changes=(TypesChange(after(10), None),))
    assert "types are Mailbox only since 12:00:10Z" in narrowed.headline


def test_its_end() -> None:
    expired = lane(ends_at=after(30))
    assert (expired.reason, expired.headline) == (
        Reason.EXPIRED,
        "Not sent: the subscription expired 12:00:30Z",
    )
    revoked = lane(token_revoked_at=after(30))
    assert revoked.reason is Reason.CREDENTIAL_ENDED
    assert "t1 that made the subscription was revoked 12:00:30Z" in revoked.headline
    ended = lane(token_expires_at=after(30))
    assert "expired 12:00:30Z" in ended.headline
    assert lane(token_expires_at=after(3600)).reason is Reason.DUE


def test_not_verified() -> None:
    found = lane(verified_at=None, verification_started_at=None)
    assert found.reason is Reason.VERIFYING


def test_paused() -> None:
    found = lane(paused_at=after(-9))
    assert found.headline == "Not sent: an operator paused the subscription 11:59:51Z"
    assert found.advice[0].command == "tidings subscription resume p1"


def test_not_merged() -> None:
    unmerged = subscription(target=SEQUENCE - 1, due_at=None)
    never = judge_subscription(case(subscription=unmerged, merging=MergingEvidence(None)))
    assert (never.reason, "have never read" in never.headline) == (Reason.NOT_MERGED, True)
    behind = MergingEvidence(SEQUENCE - 3, waiting=3)
    found = judge_subscription(case(subscription=unmerged, merging=behind))
    assert found.headline.endswith("which are at 38; 3 events wait")
    passed = judge_subscription(case(subscription=unmerged))
    assert passed.reason is Reason.UNEXPLAINED


def test_being_sent_due_and_nobody_takes_it() -> None:
    found = lane(is_leased=True, due_at=after(90))
    assert found.reason is Reason.BEING_SENT
    assert "another one takes it over 12:01:30Z" in found.advice[0].text
    assert lane(due_at=after(58)).headline == "Waits: due 2.0 s ago, for a deliverer's next look"
    assert lane(due_at=after(50)).reason is Reason.NO_DELIVERER
    assert lane(busy_of_origin=1).reason is Reason.DUE, "there is room for two"
    busy = lane(busy_of_origin=2)
    assert busy.reason is Reason.ORIGIN_BUSY
    assert "behind 2 other subscriptions of the same origin" in busy.headline


def test_waiting() -> None:
    found = lane(due_at=after(90), waits_for=WaitsFor.BREAKER, attempts=(failure(),))
    assert found.reason is Reason.BREAKER
    assert [step.what for step in found.steps] == [
        "committed",
        "appended",
        "sent",
        "answered",
        "waits",
    ]


def test_what_no_rule_knows() -> None:
    found = lane(due_at=None)
    assert found.reason is Reason.UNEXPLAINED
    assert found.steps[-1].text == "cursor 40, target 41, deliverers at 41"
    assert found.receiver.user == "ada"
    assert found.steps[0].at == EVENT_AT
