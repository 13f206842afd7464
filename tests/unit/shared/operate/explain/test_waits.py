import pytest

from services.webhooks.answers import Outcome as AnswerOutcome
from shared.operate.explain.waits import (
    OUTCOME_TEXTS,
    attempt_text,
    attempts_steps,
    waiting,
)
from shared.operate.explain.words import Reason
from shared.store.waits import WaitsFor
from tests.support.evidence import NOW, after, attempt, failure, subscription


def test_each_outcome_of_an_attempt_has_words() -> None:
    assert set(OUTCOME_TEXTS) == set(AnswerOutcome)


def test_an_attempt_in_words() -> None:
    assert attempt_text(failure()) == "500, an error of the endpoint: “oops”"
    assert attempt_text(attempt()) == "201, it was taken"
    assert attempt_text(attempt(outcome="new", status=None)) == "new"


def test_an_attempt_is_two_steps() -> None:
    sent, answered = attempts_steps((failure(1, retry_after_seconds=40),))
    assert (sent.what, sent.at, sent.text) == ("sent", after(1), "a message up to 41")
    assert answered.at == after(1.015)
    assert answered.text.endswith("; Retry-After: 40")
    [sent, _] = attempts_steps((attempt(kind="verification", cursor=0),))
    assert sent.text == "the PushVerification"


def test_of_many_attempts_the_first_and_the_last_are_shown() -> None:
    steps = attempts_steps([failure(seconds) for seconds in range(10)])
    assert [step.what for step in steps].count("sent") == 6
    assert steps[2].text == "4 more in between"
    assert steps[3].at == after(5)


@pytest.mark.parametrize(
    ("waits_for", "reason"),
    [
        (WaitsFor.WINDOW, Reason.WINDOW),
        (WaitsFor.BACKOFF, Reason.BACKOFF),
        (WaitsFor.RETRY_AFTER, Reason.RETRY_AFTER),
        (WaitsFor.BREAKER, Reason.BREAKER),
        (WaitsFor.OWN_FAULT, Reason.OWN_FAULT),
        (WaitsFor.LOG_AWAY, Reason.LOG_AWAY),
        (WaitsFor.SLOT, Reason.DUE),
        (WaitsFor.SECRET_UNREADABLE, Reason.SECRET_UNREADABLE),
        (WaitsFor.CRASHED, Reason.CRASHED),
        (WaitsFor.LEASE, Reason.DUE),
        (WaitsFor.ENDED, Reason.DUE),
        ("of a newer version", Reason.DUE),
        (None, Reason.DUE),
    ],
)
def test_each_wait_is_a_reason(waits_for: str | None, reason: Reason) -> None:
    lane = subscription(due_at=after(90), waits_for=waits_for)
    found = waiting(lane, (), NOW)
    assert found.reason is reason
    assert ("429" in found.headline) is (reason is Reason.WINDOW)
    assert "until 12:01:30Z (in 30.0 s)" in found.headline
    begins = reason in (Reason.SECRET_UNREADABLE, Reason.CRASHED)
    assert found.headline.startswith("Not sent" if begins else "Waits")


def test_a_lane_of_an_older_deliverer_that_was_throttled_has_its_window() -> None:
    found = waiting(subscription(due_at=after(90), window_ms=2000), (), NOW)
    assert found.reason is Reason.WINDOW
    assert "429" in found.headline


def test_a_lane_that_failed_under_an_older_deliverer_backs_off() -> None:
    lane = subscription(due_at=None, failures=2, attempts=(failure(),))
    found = waiting(lane, (), NOW)
    assert found.reason is Reason.BACKOFF
    assert "after 2 failures; the last answer was 500" in found.headline
    assert [step.what for step in found.steps] == ["sent", "answered", "waits"]
