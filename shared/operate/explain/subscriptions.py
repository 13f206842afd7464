"""Why an event was, or was not, POSTed to a subscription (docs/adr/0009, 0018); no I/O.

The rules are asked in order, and the first that finds something has explained it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from shared.operate.explain.case import Case, made_later, missing, subscribe_again
from shared.operate.explain.evidence import AttemptEvidence, SubscriptionEvidence, wanted
from shared.operate.explain.findings import Finding, event_steps, not_appended, verdict
from shared.operate.explain.unverified import unverified
from shared.operate.explain.waits import attempts_steps, waiting
from shared.operate.explain.wording import moment, span, times
from shared.operate.explain.words import Advice, Reason, Receiver, Step, Verdict

_DUE_MAX = timedelta(seconds=5)  # a deliverer that works looks at a due lane within that


def judge_subscription(case: Case) -> Verdict:
    found = next(filter(None, (rule(case) for rule in _RULES)), None) or _unexplained(case)
    return verdict(_receiver(case.subscription), found, event_steps(case.event))


def _receiver(subscription: SubscriptionEvidence) -> Receiver:
    return Receiver(
        kind="subscription",
        id=subscription.id,
        user=subscription.user_name,
        detail=subscription.origin,
    )


# The rules.


def _not_appended(case: Case) -> Finding | None:
    return not_appended(case.event, case.now)


def _made_later(case: Case) -> Finding | None:
    if not case.is_passed:
        return None  # and is told all the same
    pushes = (one for one in case.subscription.attempts if one.kind == "push")
    was_there = any(one.cursor < case.sequence for one in pushes)
    created_at = case.subscription.created_at
    return made_later(case.event, created_at, case.looker, case.now, was_there=was_there)


def _told(case: Case) -> Finding | None:
    attempt = case.told_by
    if attempt is None:
        return None
    not_for_it = missing(case, attempt.at)
    if not_for_it is not None:
        return not_for_it
    types = wanted(case.event.changed, case.subscription.types_at(attempt.at))
    superseded = case.event.superseded_by(types, attempt.cursor)
    steps = attempts_steps(case.tries[: case.tries.index(attempt) + 1])
    took = "" if case.event.committed_at is None else _after(attempt, case.event.committed_at)
    tries = len(case.tries[: case.tries.index(attempt) + 1])
    number = "" if tries == 1 else f", at the {_ordinal(tries)} try"
    if superseded is None:
        return Finding(
            reason=Reason.TOLD,
            headline=f"Told {moment(attempt.at, case.now)}: the endpoint answered "
            f"{attempt.status}{took}{number}",
            steps=steps,
            advice=(_replay(case),),
        )
    return Finding(
        reason=Reason.TOLD_WITH_LATER,
        headline=f"Told {moment(attempt.at, case.now)} as part of a later message: the endpoint "
        f"answered {attempt.status}{took}{number}, to the newer state of event {superseded}",
        steps=(_superseded_step(superseded), *steps),
        advice=(_replay(case),),
    )


def _passed(case: Case) -> Finding | None:
    """All of it was told, or nothing of it was to be told, and no request that is kept says so."""
    if not case.is_passed:
        return None
    not_for_it = missing(case, case.at) or missing(case, case.now)
    if not_for_it is not None:
        return not_for_it
    oldest = next((one for one in case.subscription.attempts if one.kind == "push"), None)
    until = "" if oldest is None else f", before {moment(oldest.at, case.now)}"
    return Finding(
        reason=Reason.TOLD_NOT_KEPT,
        headline=f"Told{until}: all of the log up to {case.subscription.cursor} was told; the "
        "request itself is not kept any more",
        steps=(
            Step(
                what="told",
                at=None,
                text=f"the lane is at {case.subscription.cursor}; only its last requests are kept",
            ),
        ),
        advice=(_replay(case),),
    )


def _not_wanted(case: Case) -> Finding | None:
    """What is left to tell is nothing that it wants and may see."""
    now = missing(case, case.now)
    if now is None and case.subscription.target >= case.sequence:
        return None  # it was merged later, with what came then
    return missing(case, case.at) or now


def _over(case: Case) -> Finding | None:
    subscription, now = case.subscription, case.now
    revoked, expires = subscription.token_revoked_at, subscription.token_expires_at
    if revoked is not None or (expires is not None and expires <= now):
        at, verb = (revoked, "was revoked") if revoked is not None else (expires, "expired")
        return Finding(
            reason=Reason.CREDENTIAL_ENDED,
            headline=f"Not sent: the token {subscription.token_id} that made the subscription "
            f"{verb}{_at(at, now)}, and the subscription ends with it",
            steps=(Step(what="ended", at=at, text=f"the token {verb}"),),
            advice=(subscribe_again(),),
        )
    if subscription.ends_at <= now:
        return Finding(
            reason=Reason.EXPIRED,
            headline=f"Not sent: the subscription expired{_at(subscription.ends_at, now)}",
            steps=(Step(what="ended", at=subscription.ends_at, text="it expired"),),
            advice=(subscribe_again(),),
        )
    return None


def _paused(case: Case) -> Finding | None:
    subscription = case.subscription
    if subscription.paused_at is None:
        return None
    at = _at(subscription.paused_at, case.now)
    return Finding(
        reason=Reason.PAUSED,
        headline=f"Not sent: an operator paused the subscription{at}",
        steps=(
            Step(what="paused", at=subscription.paused_at, text="by an operator"),
            *attempts_steps(case.tries),
        ),
        advice=(
            Advice(
                text="What it missed is told at once, in one message, with:",
                command=f"tidings subscription resume {subscription.id}",
            ),
        ),
    )


def _not_merged(case: Case) -> Finding | None:
    if case.subscription.target >= case.sequence:
        return None
    merging = case.merging
    if merging.up_to is None or merging.up_to < case.sequence:
        where = "have never read the log" if merging.up_to is None else f"are at {merging.up_to}"
        return Finding(
            reason=Reason.NOT_MERGED,
            headline=f"Waits: in the log, and not read by the deliverers yet, which {where}; "
            f"{times(merging.waiting, 'event')} wait",
            steps=(Step(what="waits", at=case.now, text="for a deliverer to read it"),),
            advice=(
                Advice(
                    text="Longer than a few seconds: is `tidings webhooks` running, and does it "
                    "reach NATS and PostgreSQL? See its /health/ready."
                ),
            ),
        )
    return None


def _waiting(case: Case) -> Finding | None:
    """Its lane has it, and somebody or something holds it up."""
    subscription, now = case.subscription, case.now
    if subscription.target < case.sequence or subscription.due_at is None:
        return None
    if subscription.is_leased and subscription.due_at > now:
        return Finding(
            reason=Reason.BEING_SENT,
            headline="Waits: a deliverer is telling it just now",
            steps=(
                *attempts_steps(case.tries),
                Step(what="sending", at=now, text="a deliverer has it in hand"),
            ),
            advice=(
                Advice(
                    text="Should that deliverer have died, another one takes it over "
                    f"{moment(subscription.due_at, now)}."
                ),
            ),
        )
    if subscription.due_at > now:
        return waiting(subscription, case.tries, now)
    return _due(case, subscription.due_at)


def _due(case: Case, due_at: datetime) -> Finding:
    subscription, now = case.subscription, case.now
    steps = (*attempts_steps(case.tries), Step(what="due", at=due_at, text="for a deliverer"))
    if subscription.busy_of_origin >= case.origin_at_once_max:
        busy = times(subscription.busy_of_origin, "other subscription")
        return Finding(
            reason=Reason.ORIGIN_BUSY,
            headline=f"Waits: due since {moment(due_at, now)}, behind {busy} of the same origin "
            "that are being told just now",
            steps=steps,
            advice=(
                Advice(
                    text="A deliverer asks one origin TIDINGS_WEBHOOK_ORIGIN_AT_ONCE_MAX times at "
                    "once; a slow endpoint holds its place until it answers."
                ),
            ),
        )
    if now - due_at <= _DUE_MAX:
        return Finding(
            reason=Reason.DUE,
            headline=f"Waits: due {_ago(due_at, now)} ago, for a deliverer's next look",
            steps=steps,
        )
    return Finding(
        reason=Reason.NO_DELIVERER,
        headline=f"Waits: due since {moment(due_at, now)}, and no deliverer takes it",
        steps=steps,
        advice=(
            Advice(
                text="Is `tidings webhooks` running, with free slots "
                "(tidings_webhook_in_flight at /metrics)?"
            ),
        ),
    )


_RULES: tuple[Callable[[Case], Finding | None], ...] = (
    _not_appended,
    _made_later,
    _told,
    _passed,
    _not_wanted,
    _over,
    unverified,
    _paused,
    _not_merged,
    _waiting,
)


def _unexplained(case: Case) -> Finding:
    subscription = case.subscription
    return Finding(
        reason=Reason.UNEXPLAINED,
        headline="Not known: it should have been told, and nothing says why it was not",
        steps=(
            Step(
                what="lane",
                at=case.now,
                text=f"cursor {subscription.cursor}, target {subscription.target}, "
                f"deliverers at {case.merging.up_to}",
            ),
        ),
        advice=(
            Advice(
                text="Please report it, with the output of --json. To tell it everything:",
                command=case.looker.resync,
            ),
        ),
    )


# What they share.


def _superseded_step(sequence: int) -> Step:
    return Step(what="merged", at=None, text=f"with event {sequence}, which changed it again")


def _replay(case: Case) -> Advice:
    event, sequence = case.event, case.sequence
    if not event.is_kept:
        return Advice(text="To tell it the newest state of everything:", command=case.looker.resync)
    return Advice(
        text="To see what a POST of this event alone would be:",
        command=f"tidings replay --account {event.account_id} --subscription "
        f"{case.subscription.id} --after 1.{event.epoch}.{sequence - 1} "
        f"--before 1.{event.epoch}.{sequence + 1} --dry-run",
    )


def _at(at: datetime | None, now: datetime) -> str:
    return "" if at is None else f" {moment(at, now)}"


def _ago(at: datetime, now: datetime) -> str:
    return span(now - at)


def _after(attempt: AttemptEvidence, since: datetime) -> str:
    answered = attempt.at + timedelta(milliseconds=attempt.milliseconds)
    return f", {span(answered - since)} after the commit"


def _ordinal(number: int) -> str:
    if 10 <= number % 100 <= 20:  # noqa: PLR2004 - eleventh to twentieth
        return f"{number}th"
    return f"{number}{_ORDINALS.get(number % 10, 'th')}"


_ORDINALS = {1: "st", 2: "nd", 3: "rd"}
