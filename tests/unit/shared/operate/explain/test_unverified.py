from shared.operate.explain.unverified import unverified
from shared.operate.explain.words import Reason
from tests.support.evidence import after, attempt, case, failure, subscription


def found(**changes: object) -> tuple[Reason, str]:
    lane = subscription(**{"verified_at": None, **changes})
    finding = unverified(case(subscription=lane))
    assert finding is not None
    return finding.reason, finding.headline


def test_a_verified_one_is_no_case_of_it() -> None:
    assert unverified(case()) is None


def test_the_endpoint_refused_it() -> None:
    asked = failure(-60, kind="verification", cursor=0)
    reason, headline = found(attempts=(asked,))
    assert reason is Reason.VERIFICATION_FAILED
    assert headline.endswith("its PushVerification got 500, an error of the endpoint: “oops”")


def test_the_code_was_not_sent_back() -> None:
    asked = attempt(-60, kind="verification", cursor=0)
    reason, headline = found(attempts=(asked,))
    assert reason is Reason.CODE_NOT_GIVEN
    assert "took the PushVerification 11:59:00Z" in headline


def test_a_deliverer_died_in_the_midst_of_it() -> None:
    assert found(verification_started_at=after(-60))[0] is Reason.VERIFICATION_CUT_SHORT


def test_it_is_on_its_way() -> None:
    assert found(verification_started_at=after(55))[0] is Reason.VERIFYING
    reason, headline = found(verification_started_at=None, created_at=after(50))
    assert reason is Reason.VERIFYING
    assert "was made 10.0 s ago" in headline
