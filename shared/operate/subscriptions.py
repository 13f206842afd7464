"""Push subscriptions and their lanes as operators are shown them."""

from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from shared.runtime.clock import utc_text
from shared.store.lane_admin import (
    AttemptView,
    LaneView,
    read_attempts,
    read_lane,
    read_sealed,
)
from shared.web_push.endpoint import EndpointError, read_endpoint
from shared.web_push.endpoint_secrets import unseal_endpoint
from shared.web_push.sealing import SealingKey, UnsealError, Vault


class SubscriptionFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """By the names that JMAP would give them; times are texts."""

    id: str
    user: str
    device_client_id: str
    state: str
    types: tuple[str, ...] | None
    cursor: int
    target: int
    behind_since: str | None
    due_at: str | None
    failures: int
    failing_since: str | None
    window_ms: int
    attempts: int
    created_at: str
    verification_started_at: str | None
    verified_at: str | None
    ends_at: str
    is_encrypted: bool
    last_outcome: str | None
    last_attempt_at: str | None


class AttemptFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One of the last requests, and the first octets of what was answered."""

    at: str
    kind: str
    outcome: str
    status: int | None
    milliseconds: int
    cursor: int
    answer: str | None


class SubscriptionDetails(SubscriptionFacts, frozen=True, kw_only=True, rename="camel"):
    """`origin`: where it goes, without the path, which is a secret; or why that is not known."""

    origin: str
    last_attempts: tuple[AttemptFacts, ...]


def subscription_facts(lane: LaneView) -> SubscriptionFacts:
    return SubscriptionFacts(**_values(lane))


async def subscription_details(
    pool: asyncpg.Pool, vault: Vault | None, subscription_id: str
) -> SubscriptionDetails:
    """Raises UnknownSubscriptionError."""
    lane = await read_lane(pool, subscription_id)
    attempts = await read_attempts(pool, subscription_id)
    origin, key = await _opened(pool, vault, subscription_id)
    return SubscriptionDetails(
        **_values(lane),
        origin=origin,
        last_attempts=tuple(_attempt(one, key, subscription_id) for one in attempts),
    )


def _values(lane: LaneView) -> dict[str, Any]:
    values = {name: getattr(lane, name) for name in SubscriptionFacts.__struct_fields__}
    return {
        name: utc_text(value) if isinstance(value, datetime) else value
        for name, value in values.items()
    }


async def _opened(
    pool: asyncpg.Pool, vault: Vault | None, subscription_id: str
) -> tuple[str, SealingKey | None]:
    """Its origin, and what opens the answers."""
    if vault is None:
        return "sealed: TIDINGS_SECRET_KEY is not set", None
    sealed, wrapped = await read_sealed(pool, subscription_id)
    try:
        key = vault.unwrap(wrapped, subscription_id)
        endpoint = unseal_endpoint(key, subscription_id, sealed)
    except UnsealError:
        return "sealed under another TIDINGS_SECRET_KEY", None
    try:
        return read_endpoint(endpoint.url).origin, key
    except EndpointError:  # rules may have become stricter
        return "not allowed any more", key


def _attempt(attempt: AttemptView, key: SealingKey | None, subscription_id: str) -> AttemptFacts:
    answer = None
    if attempt.sealed_answer is not None and key is not None:
        said = key.unseal(attempt.sealed_answer, purpose=f"answer:{subscription_id}")
        answer = said.decode(errors="replace")
    return AttemptFacts(
        at=utc_text(attempt.at),
        kind=attempt.kind,
        outcome=attempt.outcome,
        status=attempt.status,
        milliseconds=attempt.milliseconds,
        cursor=attempt.cursor,
        answer=answer,
    )
