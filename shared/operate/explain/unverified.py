"""Why a subscription is not verified (RFC 8620 section 7.2.2); no I/O."""

from datetime import timedelta

from shared.operate.explain.case import Case
from shared.operate.explain.findings import Finding
from shared.operate.explain.waits import attempt_text, attempts_steps
from shared.operate.explain.wording import moment, span
from shared.operate.explain.words import Advice, Reason, Step

_VERIFICATION_MAX = timedelta(seconds=75)  # an answer takes 60 s at most, by its setting


def unverified(case: Case) -> Finding | None:
    subscription, now = case.subscription, case.now
    if subscription.verified_at is not None:
        return None
    asked = next((one for one in subscription.attempts if one.kind == "verification"), None)
    started = subscription.verification_started_at
    again = Advice(
        text="A PushVerification is sent once (RFC 9749 section 6). Correct the endpoint; then its "
        "client destroys the subscription and makes another one."
    )
    if asked is not None:
        steps = attempts_steps((asked,))
        if asked.outcome != "accepted":
            return Finding(
                reason=Reason.VERIFICATION_FAILED,
                headline=f"Not sent: the subscription is not verified; its PushVerification got "
                f"{attempt_text(asked)}",
                steps=steps,
                advice=(again,),
            )
        return Finding(
            reason=Reason.CODE_NOT_GIVEN,
            headline="Not sent: the subscription is not verified; its endpoint took the "
            f"PushVerification {moment(asked.at, now)}, and its client did not send the code back",
            steps=steps,
            advice=(
                Advice(
                    text="The client must send verificationCode by PushSubscription/set (RFC 8620 "
                    "section 7.2.2): this deployment has TIDINGS_WEBHOOK_VERIFY=code."
                ),
            ),
        )
    if started is not None and now - started > _VERIFICATION_MAX:
        return Finding(
            reason=Reason.VERIFICATION_CUT_SHORT,
            headline="Not sent: the subscription is not verified; a deliverer began its "
            f"PushVerification {moment(started, now)} and ended before it knew the answer",
            steps=(Step(what="verification", at=started, text="was begun, and never ended"),),
            advice=(again,),
        )
    return Finding(
        reason=Reason.VERIFYING,
        headline=f"Waits: the subscription was made {span(now - subscription.created_at)} ago, and "
        "its PushVerification is on its way",
        steps=(Step(what="waits", at=now, text="for the answer to the PushVerification"),),
        advice=(Advice(text="Longer than 20 s: is `tidings webhooks` running?"),),
    )
