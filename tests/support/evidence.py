"""Evidence as tests of `explain` need it; each default is a thing that went well."""

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.log.event import Cause
from shared.operate.connections import ConnectionDetails, Moment
from shared.operate.explain.case import Case
from shared.operate.explain.connection_case import ConnectionCase
from shared.operate.explain.evidence import (
    AccessEvidence,
    AttemptEvidence,
    EndedSubscription,
    EventEvidence,
    Grant,
    MergingEvidence,
    SubscriptionEvidence,
)
from shared.runtime.clock import utc_text

EVENT_AT = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
NOW = EVENT_AT + timedelta(minutes=1)
SEQUENCE = 41
EPOCH = "abc"
ACCOUNT = "a1"
OWNER = AccessEvidence(Grant("owner", is_subscribed=True))


def after(seconds: float) -> datetime:
    """So long after the event."""
    return EVENT_AT + timedelta(seconds=seconds)


def cursor(sequence: int) -> str:
    return f"1.{EPOCH}.{sequence}"


def event(**changes: Any) -> EventEvidence:
    given: dict[str, Any] = {
        "epoch": EPOCH,
        "sequence": SEQUENCE,
        "account_id": ACCOUNT,
        "account_name": "ada",
        "changed": {"Email": "s41"},
        "cause": Cause(method="Email/set", principal="ada"),
        "committed_at": EVENT_AT,
        "appended_at": after(0.01),
    }
    return EventEvidence(**{**given, **changes})


def attempt(seconds: float = 0.02, **changes: Any) -> AttemptEvidence:
    given: dict[str, Any] = {
        "at": after(seconds),
        "kind": "push",
        "outcome": "accepted",
        "status": 201,
        "milliseconds": 15,
        "cursor": SEQUENCE,
    }
    return AttemptEvidence(**{**given, **changes})


def failure(seconds: float = 0.02, **changes: Any) -> AttemptEvidence:
    given = {"outcome": "server_error", "status": 500, "answer": "oops"}
    return attempt(seconds, **{**given, **changes})


def subscription(**changes: Any) -> SubscriptionEvidence:
    """Verified long ago; it was told nothing of the event, which is in its lane."""
    given: dict[str, Any] = {
        "id": "p1",
        "user_id": "u1",
        "user_name": "ada",
        "device_client_id": "device",
        "origin": "https://push.example.com",
        "types": None,
        "created_at": after(-3600),
        "verification_started_at": after(-3600),
        "verified_at": after(-3599),
        "ends_at": after(86_400),
        "token_id": "t1",
        "cursor": SEQUENCE - 1,
        "target": SEQUENCE,
        "due_at": after(59),
    }
    return SubscriptionEvidence(**{**given, **changes})


def case(**changes: Any) -> Case:
    given: dict[str, Any] = {
        "event": event(),
        "subscription": subscription(),
        "access": OWNER,
        "merging": MergingEvidence(SEQUENCE),
        "now": NOW,
        "origin_at_once_max": 2,
    }
    return Case(**{**given, **changes})


def told(*attempts: AttemptEvidence, **changes: Any) -> Case:
    """Everything was told, by these requests."""
    given: dict[str, Any] = {
        "cursor": SEQUENCE,
        "due_at": None,
        "attempts": attempts,
        "attempts_made": len(attempts) + 1,
    }
    return case(subscription=subscription(**{**given, **changes}))


def ended(**changes: Any) -> EndedSubscription:
    given: dict[str, Any] = {
        "id": "p1",
        "user_id": "u1",
        "user_name": "ada",
        "types": None,
        "created_at": after(-3600),
        "verified_at": after(-3599),
        "ended_at": after(10),
        "because": "gone",
        "cursor": SEQUENCE - 1,
    }
    return EndedSubscription(**{**given, **changes})


def frame(seconds: float = 0.02, sequence: int = SEQUENCE, **changes: Any) -> Moment:
    given: dict[str, Any] = {
        "at": utc_text(after(seconds)),
        "kind": "state",
        "cursor": cursor(sequence),
        "changed": {ACCOUNT: {"Email": "s41"}},
        "octets": 120,
    }
    return Moment(**{**given, **changes})


def connection(*moments: Moment, **changes: Any) -> ConnectionDetails:
    """An event source, open since long before the event; it was told these frames."""
    frames = [one for one in moments if one.kind == "state"]
    given: dict[str, Any] = {
        "id": "g1-1",
        "gateway": "g1",
        "transport": "sse",
        "user": "u1",
        "user_name": "ada",
        "credential": "t1",
        "address": "192.0.2.1",
        "opened_at": utc_text(after(-60)),
        "ended_at": None,
        "end_reason": None,
        "types": None,
        "type_count": 0,
        "is_listening": True,
        "account_count": 1,
        "messages": len(frames),
        "merged": 0,
        "filtered": 0,
        "cursor": frames[-1].cursor if frames else cursor(SEQUENCE - 1),
        "told_cursor": frames[-1].cursor if frames else None,
        "told_at": frames[-1].at if frames else None,
        "pending": 0,
        "stalled_seconds": None,
        "unsent_octets": 0,
        "accounts": (ACCOUNT,),
        "ping_seconds": 0,
        "closes_after_state": False,
        "asked_cursor": None,
        "joined_at": utc_text(after(-60)),
        "outcome": "fresh",
        "missed": 0,
        "filtered_cursor": None,
        "pending_states": {},
        "pending_because": None,
        "pings": 0,
        "pinged_at": None,
        "ping_milliseconds": None,
        "ended_by": None,
        "moments": moments,
    }
    return ConnectionDetails(**{**given, **changes})


def connected(*moments: Moment, **changes: Any) -> ConnectionCase:
    given: dict[str, Any] = {
        "event": event(),
        "connection": connection(*moments),
        "access": OWNER,
        "gateway_cursor": cursor(SEQUENCE),
        "now": NOW,
    }
    return ConnectionCase(**{**given, **changes})
