"""What the rules for subscriptions and for connections share; no I/O."""

from datetime import datetime
from shlex import quote

import msgspec

from shared.log.cursor import Cursor, encode_cursor
from shared.operate.explain.evidence import AccessEvidence, EventEvidence, Types, wanted
from shared.operate.explain.wording import listed, moment, types_text
from shared.operate.explain.words import (
    Advice,
    EventShown,
    Reason,
    Receiver,
    Step,
    Verdict,
    outcome_of,
)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A rule's result; `steps` follow those of the event."""

    reason: Reason
    headline: str
    steps: tuple[Step, ...] = ()
    advice: tuple[Advice, ...] = ()


def verdict(receiver: Receiver, finding: Finding, steps: tuple[Step, ...] = ()) -> Verdict:
    """`steps`: those before the finding's own."""
    return Verdict(
        receiver=receiver,
        outcome=outcome_of(finding.reason),
        reason=finding.reason,
        headline=finding.headline,
        steps=in_order(steps + finding.steps),
        advice=finding.advice,
    )


def in_order(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """By time; one without a time stays behind the one it follows."""
    keyed: list[tuple[datetime | None, Step]] = []
    last: datetime | None = None
    for step in steps:
        last = step.at or last
        keyed.append((last, step))
    known = [(at, step) for at, step in keyed if at is not None]
    unknown = [step for at, step in keyed if at is None]
    return (*unknown, *(step for _, step in sorted(known, key=lambda pair: pair[0])))


def event_steps(event: EventEvidence) -> tuple[Step, ...]:
    """Up to the log."""
    cause = event.cause
    made = " ".join(
        part for part in (cause.method, cause.principal and f"by {cause.principal}") if part
    )
    steps = [
        Step(
            what="committed",
            at=event.committed_at,
            text=f"{listed(event.changed)} of {account_text(event)}"
            + (f", {made}" if made else ""),
        )
    ]
    if event.carried_by is not None:
        text = (
            f"as event {event.sequence}, which the log keeps no more; {event.carried_by} names it"
        )
        steps.append(Step(what="appended", at=None, text=text))
    elif event.sequence is not None:
        cursor = encode_cursor(Cursor(event.epoch, event.sequence))
        steps.append(Step(what="appended", at=event.appended_at, text=f"to the log, as {cursor}"))
    return tuple(steps)


def account_text(event: EventEvidence) -> str:
    if event.account_name is None:
        return f"account {event.account_id}"
    return f"account {event.account_name} ({event.account_id})"


def event_shown(event: EventEvidence) -> EventShown:
    cursor = None
    if event.sequence is not None:
        cursor = encode_cursor(Cursor(event.epoch, event.sequence))
    return EventShown(
        cursor=cursor,
        sequence=event.sequence,
        account=event.account_id,
        account_name=event.account_name,
        changed=dict(event.changed),
        at=event.committed_at,
        method=event.cause.method,
        principal=event.cause.principal,
        request_id=event.cause.request_id,
        is_kept=event.is_kept,
    )


def not_appended(event: EventEvidence, now: datetime) -> Finding | None:
    """The log has not got it yet."""
    if event.sequence is not None:
        return None
    since = "" if event.committed_at is None else f" since {moment(event.committed_at, now)}"
    problem = f": {event.problem}" if event.problem else ""
    return Finding(
        reason=Reason.NOT_APPENDED,
        headline=f"Waits{since}: committed, and not in the log yet{problem}",
        steps=(Step(what="waits", at=now, text="for a dispatcher to append it to the log"),),
        advice=(
            Advice(
                text="Nothing is lost: a dispatcher appends it within seconds once it reaches "
                "NATS. Look at the dispatchers' /health/ready and their logs."
            ),
        ),
    )


class Looker(msgspec.Struct, frozen=True, kw_only=True):
    """Whom an event may concern: what it asks for, and the words for it."""

    noun: str  # subscription, connection
    user: str  # name
    resync: str  # a command that tells it everything again
    asks: str  # how its client asks for types


class AskedTypes(msgspec.Struct, frozen=True):
    """What was asked for at a time, and between which changes, where there were any."""

    types: Types
    since: datetime | None = None
    until: datetime | None = None


def filtered(
    event: EventEvidence, looker: Looker, asked: AskedTypes, now: datetime
) -> Finding | None:
    """It asked for other types."""
    if wanted(event.changed, asked.types):
        return None
    verb = "are" if asked.until is None else "were"
    since = "" if asked.since is None else f" since {moment(asked.since, now)}"
    until = "" if asked.until is None else f" until {moment(asked.until, now)}"
    steps = [
        Step(what="types", at=at, text=text)
        for at, text in (
            (asked.since, f"it asked for {types_text(asked.types)} from here on"),
            (asked.until, "it asked for other types from here on"),
        )
        if at is not None
    ]
    advice = (
        Advice(text=f"Its client would have to ask for {listed(event.changed)}: {looker.asks}.")
        if asked.until is None
        else Advice(text="To tell it the newest state of everything:", command=looker.resync)
    )
    return Finding(
        reason=Reason.FILTERED_BY_TYPE,
        headline=f"Not sent: the {looker.noun}'s types {verb} {types_text(asked.types)}"
        f"{since}{until}; this event changed {listed(event.changed)}",
        steps=tuple(steps),
        advice=(advice,),
    )


def not_allowed(
    event: EventEvidence, looker: Looker, access: AccessEvidence, at: datetime, now: datetime
) -> Finding | None:
    """Its user did not see the account at that time."""
    grant = access.at(at)
    if grant is not None and grant.is_followed:
        return None
    if grant is not None:
        return _not_followed(event, looker, access, at, now)
    given = next((c for c in access.changes if c.at > at and c.after is not None), None)
    removed = next((c for c in reversed(access.changes) if c.at <= at and c.after is None), None)
    who, account = looker.user, account_text(event)
    if given is not None:
        return Finding(
            reason=Reason.GRANTED_LATER,
            headline=f"Not sent: {who} had no grant for {account} at the time; "
            f"it was given {moment(given.at, now)}",
            steps=(_grant_step(given.at, f"{who} was granted {_role(given.after)}"),),
            advice=(
                Advice(
                    text="To tell it the newest state of everything it may see:",
                    command=looker.resync,
                ),
            ),
        )
    if removed is not None:
        return Finding(
            reason=Reason.GRANT_REMOVED,
            headline=f"Not sent: {who} has had no grant for {account} since "
            f"{moment(removed.at, now)}, when it was removed",
            steps=(_grant_step(removed.at, f"the grant of {who} was removed"),),
            advice=(_grant_again(event, who),),
        )
    return Finding(
        reason=Reason.NO_GRANT,
        headline=f"Not sent: {who} has no grant for {account}",
        advice=(_grant_again(event, who),),
    )


def _not_followed(
    event: EventEvidence, looker: Looker, access: AccessEvidence, at: datetime, now: datetime
) -> Finding:
    since = next((c for c in reversed(access.changes) if c.at <= at), None)
    steps: tuple[Step, ...] = ()
    if since is not None:
        steps = (
            _grant_step(since.at, f"{looker.user} is subscribed to nothing of it from here on"),
        )
    del now
    return Finding(
        reason=Reason.NOT_FOLLOWED,
        headline=f"Not sent: {looker.user} is subscribed to nothing of {account_text(event)}, "
        "which belongs to others (RFC 9670 section 1.4)",
        steps=steps,
        advice=(
            Advice(
                text="Its client subscribes with isSubscribed of an address book of that account "
                "(AddressBook/set)."
            ),
        ),
    )


def _grant_step(at: datetime, text: str) -> Step:
    return Step(what="rights", at=at, text=text)


def _role(grant: object) -> str:
    return getattr(grant, "role", "nothing")


def _grant_again(event: EventEvidence, user: str) -> Advice:
    return Advice(
        text="If it should see the account:",
        command=f"tidings grant add {event.account_id} {quote(user)} read",
    )
