"""What is known of an event and its receivers; no I/O, no judgement but on what held when."""

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec

from shared.log.event import Cause

Types = tuple[str, ...] | None
"""None: all."""


class LaterEvent(msgspec.Struct, frozen=True):
    """A later event of the same account that the log still has."""

    sequence: int
    changed: Mapping[str, str]  # type -> state


class EventEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One event; `sequence` None: committed, and not in the log yet."""

    epoch: str
    sequence: int | None
    account_id: str
    account_name: str | None = None
    changed: Mapping[str, str]  # type -> state
    cause: Cause = Cause()
    committed_at: datetime | None = None
    appended_at: datetime | None = None  # by the clock of NATS
    carried_by: int | None = None  # the log has it no more; this later event names it
    not_before: datetime | None = None  # of such a one: what is kept from right before it
    not_after: datetime | None = None  # and of the event that names it
    later: tuple[LaterEvent, ...] = ()
    problem: str | None = None  # why it is not appended, if that is known

    @property
    def is_kept(self) -> bool:
        return self.carried_by is None

    @property
    def at(self) -> datetime | None:
        """When readers of the log could have it."""
        return self.appended_at or self.committed_at

    def superseded_by(self, types: Collection[str], up_to: int) -> int | None:
        """The first later event, not above `up_to`, in which one of the types changed again."""
        for event in self.later:
            if event.sequence <= up_to and not event.changed.keys().isdisjoint(types):
                return event.sequence
        return None


class Grant(msgspec.Struct, frozen=True):
    role: str
    is_subscribed: bool  # RFC 9670 section 1.4

    @property
    def is_followed(self) -> bool:
        """Whether the account's changes are pushed to its user."""
        return self.is_subscribed or self.role == "owner"


class GrantChange(msgspec.Struct, frozen=True):
    at: datetime
    before: Grant | None
    after: Grant | None


class AccessEvidence(msgspec.Struct, frozen=True):
    """A user's grant for the account of the event: as it is, and its changes in their order."""

    now: Grant | None
    changes: tuple[GrantChange, ...] = ()

    def at(self, at: datetime) -> Grant | None:
        for change in self.changes:
            if change.at > at:
                return change.before
        return self.now


class TypesChange(msgspec.Struct, frozen=True):
    at: datetime
    before: Types


class AttemptEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """A request; `cursor`: all up to there would have been told with it."""

    at: datetime
    kind: str  # verification, push
    outcome: str
    status: int | None
    milliseconds: int
    cursor: int
    answer: str | None = None  # its first octets; None: none, or sealed under an unknown key
    retry_after_seconds: int | None = None


class SubscriptionEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription, its credential, its lane and its last attempts, oldest first."""

    id: str
    user_id: str
    user_name: str
    device_client_id: str
    origin: str | None
    types: Types
    types_changes: tuple[TypesChange, ...] = ()
    created_at: datetime
    verification_started_at: datetime | None
    verified_at: datetime | None
    ends_at: datetime
    token_id: str | None
    token_revoked_at: datetime | None = None
    token_expires_at: datetime | None = None
    cursor: int
    told: Mapping[str, int] = {}
    target: int
    behind_since: datetime | None = None
    due_at: datetime | None = None
    is_leased: bool = False
    not_before: datetime | None = None
    waits_for: str | None = None  # a WaitsFor
    window_ms: int = 0
    failures: int = 0
    failing_since: datetime | None = None
    paused_at: datetime | None = None
    attempts: tuple[AttemptEvidence, ...] = ()
    attempts_made: int = 1  # ever, the PushVerification too
    busy_of_origin: int = 0  # lanes of the same origin and health that are being told something

    def types_at(self, at: datetime) -> Types:
        for change in self.types_changes:
            if change.at > at:
                return change.before
        return self.types


class EndedSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of one that is no more."""

    id: str
    user_id: str
    user_name: str
    types: Types
    created_at: datetime
    verified_at: datetime | None
    ended_at: datetime
    because: str
    cursor: int | None  # all up to there was told


class MergingEvidence(msgspec.Struct, frozen=True):
    """How far the deliverers have read the log; `up_to` None: no deliverer has ever run."""

    up_to: int | None
    waiting: int = 0  # events that they have not taken yet


def wanted(changed: Collection[str], types: Types) -> frozenset[str]:
    """The types of an event that somebody asked for."""
    return frozenset(changed) if types is None else frozenset(changed) & frozenset(types)
