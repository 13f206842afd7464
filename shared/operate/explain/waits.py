"""What holds a subscription's next request up, and how the last ones went; no I/O."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from shared.operate.explain.evidence import AttemptEvidence, SubscriptionEvidence
from shared.operate.explain.findings import Finding
from shared.operate.explain.wording import moment, quoted, span, times
from shared.operate.explain.words import Advice, Reason, Step
from shared.store.waits import WaitsFor

_STEPS_MAX = 6  # of the requests: the first and the last ones

OUTCOME_TEXTS = {
    "accepted": "it was taken",
    "gone": "the endpoint is gone",
    "throttled": "the endpoint asks for fewer messages",
    "unavailable": "the endpoint is unavailable",
    "too_large": "the message is too large for the endpoint",
    "unauthorized": "the endpoint does not take our VAPID signature",
    "redirected": "a redirect, which is never followed",
    "refused": "the endpoint refused it",
    "server_error": "an error of the endpoint",
    "dns_failed": "no answer: its name has no address",
    "address_blocked": "nothing was sent: the address policy forbids its address",
    "connect_failed": "no answer: no connection",
    "tls_failed": "no answer: TLS failed",
    "timed_out": "no answer in time",
    "broken": "no answer that is HTTP",
    "egress_failed": "nothing was sent: this machine could not",
}
"""By outcome of an attempt (services/webhooks/answers.py)."""


def attempt_text(attempt: AttemptEvidence) -> str:
    """500, an error of the endpoint: “oops”."""
    text = OUTCOME_TEXTS.get(attempt.outcome, attempt.outcome)
    status = "" if attempt.status is None else f"{attempt.status}, "
    said = f": {quoted(attempt.answer)}" if attempt.answer else ""
    return f"{status}{text}{said}"


def attempts_steps(attempts: Sequence[AttemptEvidence]) -> tuple[Step, ...]:
    """Each as a request and its answer; of many the first and the last."""
    steps: list[Step] = []
    left_out = len(attempts) - _STEPS_MAX
    for place, attempt in enumerate(attempts):
        if left_out > 0 and 1 <= place <= left_out:
            if place == 1:
                steps.append(Step(what="…", at=attempt.at, text=f"{left_out} more in between"))
            continue
        steps += _steps(attempt)
    return tuple(steps)


def _steps(attempt: AttemptEvidence) -> tuple[Step, Step]:
    answered_at = attempt.at + timedelta(milliseconds=attempt.milliseconds)
    is_push = attempt.kind == "push"
    what = f"a message up to {attempt.cursor}" if is_push else "the PushVerification"
    asked = attempt.retry_after_seconds
    wait = "" if asked is None else f"; Retry-After: {asked}"
    return (
        Step(what="sent", at=attempt.at, text=what),
        Step(what="answered", at=answered_at, text=attempt_text(attempt) + wait),
    )


class _Wait(msgspec.Struct, frozen=True):
    reason: Reason
    text: str
    advice: str


_WAITS = {
    WaitsFor.BACKOFF: _Wait(Reason.BACKOFF, "backoff", "To try now, once the endpoint is well:"),
    WaitsFor.RETRY_AFTER: _Wait(
        Reason.RETRY_AFTER, "the endpoint asked for it (Retry-After)", "To try now all the same:"
    ),
    WaitsFor.WINDOW: _Wait(
        Reason.WINDOW,
        "messages are fewer since the endpoint answered 429",
        "To send what waits now:",
    ),
    WaitsFor.BREAKER: _Wait(
        Reason.BREAKER,
        "its origin answers nobody, and few try until it does",
        "To try now, once the origin is well:",
    ),
    WaitsFor.OWN_FAULT: _Wait(
        Reason.OWN_FAULT,
        "the deliverer's machine could not send",
        "Look at the deliverer's network, addresses and open files; then:",
    ),
    WaitsFor.LOG_AWAY: _Wait(
        Reason.LOG_AWAY,
        "the deliverer could not read NATS or PostgreSQL",
        "Look at NATS and PostgreSQL; then:",
    ),
    WaitsFor.LEASE: _Wait(
        Reason.DUE, "the message has many parts, and the rest is next", "To send it now:"
    ),
    WaitsFor.SLOT: _Wait(
        Reason.DUE,
        "the deliverer that had taken it had no slot free, and left it to any other",
        "Look at tidings_webhooks_in_flight of the deliverers; to send it now:",
    ),
    WaitsFor.ENDED: _Wait(
        Reason.DUE, "it had ended when a deliverer looked at it last", "To look again now:"
    ),
    WaitsFor.SECRET_UNREADABLE: _Wait(
        Reason.SECRET_UNREADABLE,
        "the deliverer cannot read its URL: it was sealed under another TIDINGS_SECRET_KEY",
        "Give the deliverer the TIDINGS_SECRET_KEY of then; then:",
    ),
    WaitsFor.CRASHED: _Wait(
        Reason.CRASHED,
        "the deliverer failed in a way that is a bug: its log says webhook_look_crashed",
        "Please report it. To try again:",
    ),
}
_UNSAID = _Wait(
    Reason.DUE,
    "whoever had it in hand when it was resynchronised has until then",
    "To send it now:",
)
_NOT_TOLD = (Reason.SECRET_UNREADABLE, Reason.CRASHED)


def waiting(
    subscription: SubscriptionEvidence, tries: Sequence[AttemptEvidence], now: datetime
) -> Finding:
    """It is looked at again when `due_at`, which is to come."""
    wait = _wait_of(subscription)
    until = subscription.due_at or now
    failed = ""
    last = next((one for one in reversed(subscription.attempts) if one.kind == "push"), None)
    shown = tries or (() if last is None else (last,))
    if subscription.failures and last is not None:
        failures = times(subscription.failures, "failure")
        failed = f" after {failures}; the last answer was {attempt_text(last)}"
    verb = "Not sent" if wait.reason in _NOT_TOLD else "Waits"
    return Finding(
        reason=wait.reason,
        headline=f"{verb} until {moment(until, now)} (in {span(until - now)}): {wait.text}{failed}",
        steps=(
            *attempts_steps(shown),
            Step(what="waits", at=now, text=f"until {moment(until, now)}: {wait.text}"),
        ),
        advice=(
            Advice(text=wait.advice, command=f"tidings subscription probe {subscription.id}"),
            Advice(
                text="All requests and answers:",
                command=f"tidings subscription show {subscription.id}",
            ),
        ),
    )


def _wait_of(subscription: SubscriptionEvidence) -> _Wait:
    """As the deliverer said; one of an older version did not say, nor who resynchronises."""
    known = next((one for one in WaitsFor if one == subscription.waits_for), None)
    if known is not None:
        return _WAITS.get(known, _WAITS[WaitsFor.BACKOFF])
    if subscription.failures:
        return _WAITS[WaitsFor.BACKOFF]
    return _WAITS[WaitsFor.WINDOW] if subscription.window_ms else _UNSAID
