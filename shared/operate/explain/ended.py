"""Why an event was, or was not, told to a subscription that is no more; no I/O."""

from datetime import datetime

from shared.operate.explain.case import looker_of, made_later, subscribe_again
from shared.operate.explain.evidence import AccessEvidence, EndedSubscription, EventEvidence, Types
from shared.operate.explain.findings import (
    AskedTypes,
    Finding,
    Looker,
    event_steps,
    filtered,
    not_allowed,
    not_appended,
    verdict,
)
from shared.operate.explain.wording import moment, span
from shared.operate.explain.words import Reason, Receiver, Step, Verdict

_ENDS = {
    "destroyed": "its client destroyed it",
    "gone": "its endpoint answered 404 or 410",
    "expired": "it expired",
    "credential_revoked": "its token was revoked",
    "credential_expired": "its token expired",
    "key_retired": "the VAPID key that it was made for was retired",
}
_END_UNKNOWN = "its client destroyed it, or its endpoint answered 404 or 410"


def judge_ended_subscription(
    event: EventEvidence, ended: EndedSubscription, access: AccessEvidence, now: datetime
) -> Verdict:
    """Of one that is no more: only how far it was told is known."""
    found = not_appended(event, now) or _ended_finding(event, ended, access, now)
    receiver = Receiver(kind="subscription", id=ended.id, user=ended.user_name, detail="ended")
    return verdict(receiver, found, event_steps(event))


def _ended_finding(
    event: EventEvidence, ended: EndedSubscription, access: AccessEvidence, now: datetime
) -> Finding:
    why = _ENDS.get(ended.because, _END_UNKNOWN)
    step = Step(what="ended", at=ended.ended_at, text=why)
    looker = looker_of(ended.id, ended.user_name)
    again = (subscribe_again(),)
    at = event.at or ended.ended_at
    if event.at is not None and ended.ended_at <= event.at:
        return Finding(
            reason=Reason.ENDED_BEFORE,
            headline=f"Not sent: the subscription had ended {span(at - ended.ended_at)} before "
            f"({moment(ended.ended_at, now)}): {why}",
            steps=(step,),
            advice=again,
        )
    not_for_it = made_later(event, ended.created_at, looker, now) or _ended_missing(
        event, looker, ended.types, access, at, now
    )
    if not_for_it is not None:
        return not_for_it
    if ended.verified_at is not None and (ended.cursor or 0) >= (event.sequence or 0):
        return Finding(
            reason=Reason.TOLD_NOT_KEPT,
            headline=f"Told, before the subscription ended {moment(ended.ended_at, now)}: all of "
            f"the log up to {ended.cursor} was told",
            steps=(step,),
        )
    unverified = "" if ended.verified_at is not None else " and had not been verified"
    return Finding(
        reason=Reason.ENDED_UNTOLD,
        headline=f"Not sent: the subscription ended {moment(ended.ended_at, now)}{unverified}, "
        f"before it was told: {why}",
        steps=(step,),
        advice=again,
    )


def _ended_missing(
    event: EventEvidence,
    looker: Looker,
    types: Types,
    access: AccessEvidence,
    at: datetime,
    now: datetime,
) -> Finding | None:
    return filtered(event, looker, AskedTypes(types), now) or not_allowed(
        event, looker, access, at, now
    )
