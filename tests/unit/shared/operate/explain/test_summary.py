import msgspec

from shared.operate.explain.findings import Finding, event_shown, verdict
from shared.operate.explain.summary import (
    but_one_that_ended_before,
    gateway_silent,
    more_connections,
    no_receiver,
    nothing_known,
    summed_up,
)
from shared.operate.explain.words import Outcome, Reason, Receiver, Verdict
from tests.support.evidence import NOW, event

USER = Receiver(kind="user", id="u1", user="ada")
SUBSCRIPTION = Receiver(kind="subscription", id="p1")
CONNECTION = Receiver(kind="connection", id="g1-1")


def of(reason: Reason) -> Verdict:
    return verdict(SUBSCRIPTION, Finding(reason=reason, headline=f"It is {reason}"))


def test_one_verdict_speaks_for_itself() -> None:
    found = summed_up(event_shown(event()), (of(Reason.PAUSED),), NOW)
    assert (found.headline, found.outcome) == ("It is paused", Outcome.NOT_TOLD)


def test_of_several_the_worst_counts() -> None:
    several = tuple(map(of, (Reason.TOLD, Reason.BACKOFF, Reason.TOLD)))
    found = summed_up(None, several, NOW)
    assert found.headline == "Of 3 receivers: 2 told, 1 waiting"
    assert found.outcome is Outcome.WAITS


def test_of_those_that_had_ended_before_the_first_is_enough() -> None:
    ended, told = of(Reason.ENDED_BEFORE), of(Reason.TOLD)
    assert but_one_that_ended_before([ended, told, ended]) == [ended, told]


def test_there_is_no_event() -> None:
    found = nothing_known(USER, Reason.FUTURE_EVENT, "Not known: not yet")
    assert (found.reason, found.headline) == (Reason.FUTURE_EVENT, "Not known: not yet")


def test_there_is_nobody() -> None:
    assert no_receiver(USER, ()).reason is Reason.NO_RECEIVER
    assert "ada has no push subscription" in no_receiver(USER, ()).headline
    subscription = no_receiver(SUBSCRIPTION, ())
    assert subscription.reason is Reason.UNKNOWN_SUBSCRIPTION
    assert subscription.advice[0].command == "tidings subscription list"
    assert no_receiver(CONNECTION, ()).reason is Reason.UNKNOWN_CONNECTION


def test_a_gateway_does_not_answer() -> None:
    assert "gateway g1, which connection g1-1 is of" in gateway_silent(CONNECTION, ()).headline
    assert gateway_silent(USER, ()).headline == "Not known: connections, since no gateway answers"
    [advice] = more_connections(msgspec.structs.replace(USER, user="a da"), 50).advice
    assert advice.command == "tidings connection list --user 'a da'"
    some = gateway_silent(USER, (), ("g1", "g2"))
    assert some.headline == "Not known: connections of g1 and g2, which did not answer"
