import pytest

from shared.operate.explain.ended import judge_ended_subscription
from shared.operate.explain.evidence import AccessEvidence
from shared.operate.explain.words import Reason, Verdict
from tests.support.evidence import NOW, OWNER, SEQUENCE, after, ended, event


def judged(access: AccessEvidence = OWNER, **changes: object) -> Verdict:
    return judge_ended_subscription(event(), ended(**changes), access, NOW)


@pytest.mark.parametrize(
    ("because", "text"),
    [
        ("destroyed", "its client destroyed it"),
        ("gone", "its endpoint answered 404 or 410"),
        ("expired", "it expired"),
        ("credential_revoked", "its token was revoked"),
        ("credential_expired", "its token expired"),
        ("key_retired", "the VAPID key that it was made for was retired"),
        ("unknown", "its client destroyed it, or its endpoint answered 404 or 410"),
    ],
)
def test_it_ended_before_it_was_told(because: str, text: str) -> None:
    found = judged(because=because)
    assert found.reason is Reason.ENDED_UNTOLD
    assert found.headline.endswith(f"ended 12:00:10Z, before it was told: {text}")


def test_it_had_never_been_verified() -> None:
    assert "and had not been verified" in judged(verified_at=None, cursor=SEQUENCE).headline


def test_it_had_ended_before_the_event() -> None:
    found = judged(ended_at=after(-10))
    assert found.reason is Reason.ENDED_BEFORE
    assert "10.0 s before (11:59:50Z)" in found.headline


def test_it_was_told_before() -> None:
    assert judged(cursor=SEQUENCE).reason is Reason.TOLD_NOT_KEPT
    assert judged(cursor=None).reason is Reason.ENDED_UNTOLD


def test_it_was_not_for_it() -> None:
    assert judged(types=("Mailbox",)).reason is Reason.FILTERED_BY_TYPE
    assert judged(AccessEvidence(None)).reason is Reason.NO_GRANT
    assert judged(created_at=after(5)).reason is Reason.CREATED_LATER


def test_the_event_is_not_in_the_log() -> None:
    found = judge_ended_subscription(event(sequence=None), ended(), OWNER, NOW)
    assert found.reason is Reason.NOT_APPENDED


def test_of_an_event_whose_time_is_not_known_the_cursor_decides() -> None:
    bounds = {"not_before": after(-10), "not_after": after(5)}
    carried = event(committed_at=None, appended_at=None, carried_by=50, **bounds)

    def reason(created: float) -> Reason:
        one = ended(cursor=SEQUENCE, created_at=after(created))
        return judge_ended_subscription(carried, one, OWNER, NOW).reason

    assert reason(-11) is Reason.TOLD_NOT_KEPT
    assert reason(-9) is Reason.NOT_KEPT, "the one may have come before the other"
    assert reason(6) is Reason.CREATED_LATER
