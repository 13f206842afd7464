from shared.log.event import Cause
from shared.operate.explain.evidence import AccessEvidence, Grant, GrantChange
from shared.operate.explain.findings import (
    AskedTypes,
    Finding,
    Looker,
    account_text,
    event_shown,
    event_steps,
    filtered,
    in_order,
    not_allowed,
    not_appended,
    verdict,
)
from shared.operate.explain.words import Outcome, Reason, Receiver, Step
from tests.support.evidence import EVENT_AT, NOW, OWNER, after, event

LOOKER = Looker(noun="subscription", user="bob", resync="tidings resync", asks="somehow")
READ = Grant("read", is_subscribed=True)
UNFOLLOWED = Grant("read", is_subscribed=False)


def test_a_verdict_has_the_outcome_of_its_reason() -> None:
    receiver = Receiver(kind="subscription", id="p1")
    found = verdict(receiver, Finding(reason=Reason.PAUSED, headline="Not sent"))
    assert (found.outcome, found.headline) == (Outcome.NOT_TOLD, "Not sent")


def test_steps_are_in_order_of_time_and_those_without_one_stay_in_front() -> None:
    late, early = (Step(what="x", at=after(seconds), text="") for seconds in (2, 1))
    timeless = Step(what="y", at=None, text="")
    assert in_order((timeless, late, early)) == (timeless, early, late)
    assert in_order((late, timeless, early)) == (early, late, timeless), "behind its own"


def test_the_way_into_the_log() -> None:
    committed, appended = event_steps(event())
    assert committed.text == "Email of account ada (a1), Email/set by ada"
    assert (appended.at, appended.text) == (after(0.01), "to the log, as 1.abc.41")
    [waiting] = event_steps(event(sequence=None, cause=Cause()))
    assert waiting.text == "Email of account ada (a1)"
    [_, carried] = event_steps(event(carried_by=50))
    assert carried.text == "as event 41, which the log keeps no more; 50 names it"
    assert account_text(event(account_name=None)) == "account a1"


def test_an_event_as_it_is_shown() -> None:
    assert event_shown(event()).cursor == "1.abc.41"
    assert event_shown(event(sequence=None)).cursor is None


def test_not_appended() -> None:
    assert not_appended(event(), NOW) is None
    found = not_appended(event(sequence=None, problem="NATS is away"), NOW)
    assert found is not None
    assert found.headline == (
        "Waits since 12:00:00Z: committed, and not in the log yet: NATS is away"
    )
    unknown = not_appended(event(sequence=None, committed_at=None), NOW)
    assert unknown is not None
    assert unknown.headline == "Waits: committed, and not in the log yet"


def test_filtered_by_type() -> None:
    assert filtered(event(), LOOKER, AskedTypes(None), NOW) is None
    found = filtered(event(), LOOKER, AskedTypes(("Mailbox",)), NOW)
    assert found is not None
    assert found.headline == (
        "Not sent: the subscription's types are Mailbox only; this event changed Email"
    )
    assert found.advice[0].text == "Its client would have to ask for Email: somehow."
    then = filtered(event(), LOOKER, AskedTypes((), since=after(1), until=after(2)), NOW)
    assert then is not None
    assert "types were no type at all since 12:00:01Z until 12:00:02Z" in then.headline
    assert [step.at for step in then.steps] == [after(1), after(2)]
    assert then.advice[0].command == "tidings resync"


def test_who_may_see_the_account_is_not_stopped() -> None:
    assert not_allowed(event(), LOOKER, OWNER, EVENT_AT, NOW) is None
    assert not_allowed(event(), LOOKER, AccessEvidence(READ), EVENT_AT, NOW) is None


def test_without_a_grant() -> None:
    never = not_allowed(event(), LOOKER, AccessEvidence(None), EVENT_AT, NOW)
    assert never is not None
    assert (never.reason, never.headline) == (
        Reason.NO_GRANT,
        "Not sent: bob has no grant for account ada (a1)",
    )
    assert never.advice[0].command == "tidings grant add a1 bob read"


def test_granted_after_the_event() -> None:
    access = AccessEvidence(READ, (GrantChange(after(10), None, READ),))
    found = not_allowed(event(), LOOKER, access, EVENT_AT, NOW)
    assert found is not None
    assert found.reason is Reason.GRANTED_LATER
    assert found.headline.endswith("it was given 12:00:10Z")
    assert found.steps[0].text == "bob was granted read"


def test_a_grant_that_was_removed_before() -> None:
    access = AccessEvidence(None, (GrantChange(after(-10), READ, None),))
    found = not_allowed(event(), LOOKER, access, EVENT_AT, NOW)
    assert found is not None
    assert found.reason is Reason.GRANT_REMOVED
    assert "since 11:59:50Z, when it was removed" in found.headline


def test_an_account_of_which_nothing_is_subscribed_to() -> None:
    found = not_allowed(event(), LOOKER, AccessEvidence(UNFOLLOWED), EVENT_AT, NOW)
    assert found is not None
    assert (found.reason, found.steps) == (Reason.NOT_FOLLOWED, ())
    access = AccessEvidence(UNFOLLOWED, (GrantChange(after(-10), READ, UNFOLLOWED),))
    since = not_allowed(event(), LOOKER, access, EVENT_AT, NOW)
    assert since is not None
    assert since.steps[0].at == after(-10)
