"""All that is known of one event and one subscription, and what several rules ask of it; no I/O."""

from datetime import datetime

import msgspec

from shared.operate.explain.evidence import (
    AccessEvidence,
    AttemptEvidence,
    EventEvidence,
    MergingEvidence,
    SubscriptionEvidence,
)
from shared.operate.explain.findings import AskedTypes, Finding, Looker, filtered, not_allowed
from shared.operate.explain.wording import moment, span
from shared.operate.explain.words import Advice, Reason, Step


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one event and one subscription."""

    event: EventEvidence
    subscription: SubscriptionEvidence
    access: AccessEvidence
    merging: MergingEvidence
    now: datetime
    origin_at_once_max: int  # requests to one origin that a deliverer has under way

    @property
    def sequence(self) -> int:
        return self.event.sequence or 0

    @property
    def at(self) -> datetime:
        """When the event was to be merged into lanes; unknown counts as now."""
        return self.event.at or self.now

    @property
    def is_passed(self) -> bool:
        """Whether nothing of the event is left to tell."""
        lane = self.subscription
        return self.sequence <= max(lane.cursor, lane.told.get(self.event.account_id, 0))

    @property
    def tries(self) -> tuple[AttemptEvidence, ...]:
        """The requests that told, or would have told, what the event changed.

        By sequences alone: the clocks of the database and of the deliverer differ.
        """
        return tuple(
            attempt
            for attempt in self.subscription.attempts
            if attempt.kind == "push" and attempt.cursor >= self.sequence
        )

    @property
    def told_by(self) -> AttemptEvidence | None:
        """The first that was taken, if it told all of it."""
        lane = self.subscription
        if not self.is_passed and lane.cursor:  # of a message in parts some were not taken
            return None
        if not self.is_remembered:
            return None
        return next((one for one in self.tries if one.outcome == "accepted"), None)

    @property
    def is_remembered(self) -> bool:
        """Whether the first request that told of it must be among those that are kept."""
        pushes = [one for one in self.subscription.attempts if one.kind == "push"]
        made = self.subscription.attempts_made - 1  # without the PushVerification
        return len(pushes) >= made or any(one.cursor < self.sequence for one in pushes)

    @property
    def looker(self) -> Looker:
        return looker_of(self.subscription.id, self.subscription.user_name)


def looker_of(subscription_id: str, user_name: str) -> Looker:
    return Looker(
        noun="subscription",
        user=user_name,
        resync=f"tidings subscription resync {subscription_id}",
        asks="PushSubscription/set with other types",
    )


def missing(case: Case, at: datetime) -> Finding | None:
    """Why it was not to be told at that time: its types, or its user's rights."""
    subscription = case.subscription
    changes = subscription.types_changes
    asked = AskedTypes(
        subscription.types_at(at),
        since=max((c.at for c in changes if case.at < c.at <= at), default=None),
        until=min((c.at for c in changes if c.at > at), default=None),
    )
    return filtered(case.event, case.looker, asked, case.now) or not_allowed(
        case.event, case.looker, case.access, at, case.now
    )


def created_later(at: datetime, created_at: datetime, looker: Looker, now: datetime) -> Finding:
    return Finding(
        reason=Reason.CREATED_LATER,
        headline=f"Not sent: the subscription was made {moment(created_at, now)}, "
        f"{span(created_at - at)} after the event; it is told what changes from then on",
        steps=(Step(what="created", at=created_at, text="the subscription was made"),),
        advice=(Advice(text="To tell it the newest state of everything:", command=looker.resync),),
    )


def made_later(
    event: EventEvidence,
    created_at: datetime,
    looker: Looker,
    now: datetime,
    *,
    was_there: bool = False,
) -> Finding | None:
    """Of an event that the log keeps no more, only bounds of its time are known.

    `was_there`: a request from before the event shows that the subscription is older.
    """
    at = event.at or event.not_after
    if at is not None and created_at > at:
        return created_later(at, created_at, looker, now)
    is_older = event.not_before is not None and created_at <= event.not_before
    if event.at is not None or was_there or is_older:
        return None
    return Finding(
        reason=Reason.NOT_KEPT,
        headline=f"Not known: the log keeps event {event.sequence} no more, and nothing says "
        f"whether it came before the subscription was made {moment(created_at, now)}",
        steps=(Step(what="created", at=created_at, text="the subscription was made"),),
        advice=(Advice(text="To tell it the newest state of everything:", command=looker.resync),),
    )


def subscribe_again() -> Advice:
    return Advice(text="Its client must make another subscription (PushSubscription/set).")
