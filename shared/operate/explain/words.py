"""The words of an explanation (docs/adr/0018): what is asked, and what is answered; no I/O."""

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import msgspec

from shared.log.cursor import Cursor, decode_cursor


class Outcome(StrEnum):
    """What an operator wants to know first."""

    TOLD = "told"
    WAITS = "waits"  # it will be told by itself
    NOT_TOLD = "not_told"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Where the way of an event to a receiver ended, and why: docs/explain.md has them all."""

    # Told.
    TOLD = "told"
    TOLD_WITH_LATER = "told_with_later"
    TOLD_NOT_KEPT = "told_not_kept"
    # On its way to anybody.
    NOT_APPENDED = "not_appended"
    # On its way to a subscription.
    NOT_MERGED = "not_merged"
    BEING_SENT = "being_sent"
    DUE = "due"
    NO_DELIVERER = "no_deliverer"
    ORIGIN_BUSY = "origin_busy"
    WINDOW = "window"
    BACKOFF = "backoff"
    RETRY_AFTER = "retry_after"
    BREAKER = "breaker"
    OWN_FAULT = "own_fault"
    LOG_AWAY = "log_away"
    VERIFYING = "verifying"
    # Not for this receiver.
    FILTERED_BY_TYPE = "filtered_by_type"
    NO_GRANT = "no_grant"
    GRANTED_LATER = "granted_later"
    GRANT_REMOVED = "grant_removed"
    NOT_FOLLOWED = "not_followed"
    CREDENTIAL_ENDED = "credential_ended"
    # Not told to a subscription.
    CREATED_LATER = "created_later"
    VERIFICATION_FAILED = "verification_failed"
    VERIFICATION_CUT_SHORT = "verification_cut_short"
    CODE_NOT_GIVEN = "code_not_given"
    PAUSED = "paused"
    EXPIRED = "expired"
    ENDED_BEFORE = "ended_before"
    ENDED_UNTOLD = "ended_untold"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - the name of a reason
    CRASHED = "crashed"
    # Of connections alone.
    MERGING = "merging"
    STALLED = "stalled"
    GATEWAY_BEHIND = "gateway_behind"
    PUSH_NOT_ENABLED = "push_not_enabled"
    OPENED_LATER = "opened_later"
    CURSOR_BEYOND = "cursor_beyond"
    # Nothing to explain.
    NO_RECEIVER = "no_receiver"
    UNKNOWN_SUBSCRIPTION = "unknown_subscription"
    UNKNOWN_CONNECTION = "unknown_connection"
    GATEWAY_SILENT = "gateway_silent"
    MORE_CONNECTIONS = "more_connections"
    UNKNOWN_EVENT = "unknown_event"
    FUTURE_EVENT = "future_event"
    OTHER_LOG = "other_log"
    NOT_KEPT = "not_kept"
    ACCOUNT_REMOVED = "account_removed"
    UNEXPLAINED = "unexplained"


_TOLD = (Reason.TOLD, Reason.TOLD_WITH_LATER, Reason.TOLD_NOT_KEPT)
_WAITS = (
    Reason.NOT_APPENDED,
    Reason.NOT_MERGED,
    Reason.BEING_SENT,
    Reason.DUE,
    Reason.NO_DELIVERER,
    Reason.ORIGIN_BUSY,
    Reason.WINDOW,
    Reason.BACKOFF,
    Reason.RETRY_AFTER,
    Reason.BREAKER,
    Reason.OWN_FAULT,
    Reason.LOG_AWAY,
    Reason.VERIFYING,
    Reason.MERGING,
    Reason.STALLED,
    Reason.GATEWAY_BEHIND,
)
_UNKNOWN = (
    Reason.NO_RECEIVER,
    Reason.UNKNOWN_SUBSCRIPTION,
    Reason.UNKNOWN_CONNECTION,
    Reason.GATEWAY_SILENT,
    Reason.MORE_CONNECTIONS,
    Reason.UNKNOWN_EVENT,
    Reason.FUTURE_EVENT,
    Reason.OTHER_LOG,
    Reason.NOT_KEPT,
    Reason.ACCOUNT_REMOVED,
    Reason.UNEXPLAINED,
)


def outcome_of(reason: Reason) -> Outcome:
    if reason in _TOLD:
        return Outcome.TOLD
    if reason in _WAITS:
        return Outcome.WAITS
    return Outcome.UNKNOWN if reason in _UNKNOWN else Outcome.NOT_TOLD


# The question.


class ByCursor(msgspec.Struct, frozen=True):
    """The event that `tidings events` shows with this cursor."""

    cursor: Cursor


class BySequence(msgspec.Struct, frozen=True):
    """The event at that place of the log as it is now."""

    sequence: int


class ByAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The newest event of an account, by id or name; of `type`: the newest that changed it."""

    account: str
    type: str | None = None
    since: datetime | None = None  # and not one before


WhichEvent: TypeAlias = ByCursor | BySequence | ByAccount


class OneSubscription(msgspec.Struct, frozen=True):
    id: str


class OneConnection(msgspec.Struct, frozen=True):
    id: str


class AllOfUser(msgspec.Struct, frozen=True):
    """Every subscription and every connection, also those that ended lately."""

    user: str  # id or name


Receivers: TypeAlias = OneSubscription | OneConnection | AllOfUser


class Question(msgspec.Struct, frozen=True):
    """Why was, or was not, this event told to these?"""

    event: WhichEvent
    receivers: Receivers


def event_named(
    text: str, *, type_: str | None = None, since: datetime | None = None
) -> WhichEvent:
    """As an operator types it: a cursor, a sequence, or else an account."""
    cursor = decode_cursor(text)
    if cursor is not None:
        return ByCursor(cursor)
    if text.isascii() and text.isdigit() and len(text) < _SEQUENCE_DIGITS_MAX:
        return BySequence(int(text))
    return ByAccount(account=text, type=type_, since=since)


_SEQUENCE_DIGITS_MAX = 19  # a sequence fits into 63 bits


# The answer.


class Step(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What happened on the way; the last one is where it ended."""

    what: str  # committed, appended, merged, sent, answered, waits, …
    at: datetime | None  # None: not known
    text: str


class Advice(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to do next; `command` is one to paste, if there is one."""

    text: str
    command: str | None = None


class Receiver(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    kind: str  # subscription, connection, user
    id: str
    user: str | None = None  # name
    detail: str | None = None  # where it goes, or from where it came


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of one receiver."""

    receiver: Receiver
    outcome: Outcome
    reason: Reason
    headline: str  # one sentence, the verdict first
    steps: tuple[Step, ...] = ()
    advice: tuple[Advice, ...] = ()


class EventShown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The event that the explanation is about."""

    cursor: str | None  # None: not in the log yet
    sequence: int | None
    account: str
    account_name: str | None
    changed: dict[str, str]
    at: datetime | None  # of its commit
    method: str | None = None
    principal: str | None = None
    request_id: str | None = None
    is_kept: bool = True  # by the log


class Explanation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """At least one verdict; `event` None: there is none."""

    at: datetime  # when it was asked
    headline: str
    outcome: Outcome  # the worst of the verdicts
    event: EventShown | None
    verdicts: tuple[Verdict, ...]
