"""PushSubscriptions in PostgreSQL (RFC 8620 section 7.2), each with its lane (docs/adr/0009).

Whoever locks a subscription locks its lane first: workers hold the lane while they write attempts.
"""

from datetime import datetime

import msgspec

from shared.store.pool import Connection
from shared.web_push.endpoint_secrets import Endpoint, seal_endpoint
from shared.web_push.sealing import Vault


class NewPushSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """One that the server accepted; `origin` is that of the URL, in clear."""

    id: str
    user_id: str
    credential_id: str
    token_id: str | None  # None: a JWT, which is in no table
    device_client_id: str
    vapid_key_id: str
    origin: str
    endpoint: Endpoint
    types: list[str] | None  # None: all
    expires_at: datetime | None
    ends_at: datetime


async def insert_push_subscription(
    connection: Connection, vault: Vault, new: NewPushSubscription, *, stream: str
) -> None:
    """With its key and its lane, which has told all that is in the log now. In a transaction."""
    key, wrapped = vault.new_key(new.id)
    origin = vault.keyed_hash(new.origin)
    await connection.execute(
        """
        INSERT INTO push_subscriptions (
            id, user_id, credential_id, token_id, device_client_id, vapid_key_id, origin, sealed,
            has_keys, types, expires_at, ends_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        new.id,
        new.user_id,
        new.credential_id,
        new.token_id,
        new.device_client_id,
        new.vapid_key_id,
        origin,
        seal_endpoint(key, new.id, new.endpoint),
        new.endpoint.p256dh is not None,
        new.types,
        new.expires_at,
        new.ends_at,
    )
    await connection.execute(
        "INSERT INTO push_subscription_keys (subscription_id, wrapped) VALUES ($1, $2)",
        new.id,
        wrapped,
    )
    await connection.execute(
        """
        INSERT INTO lanes (subscription_id, origin, cursor, target)
        SELECT $1, $2, sequence, sequence FROM (
            SELECT coalesce(max(highest_sequence), 0) AS sequence FROM logs WHERE stream = $3
        ) AS log
        """,
        new.id,
        origin,
        stream,
    )


async def mark_verified(connection: Connection, subscription_id: str) -> bool:
    """Whether it was not verified before; what it missed so far is due now. In a transaction."""
    await connection.execute(
        "SELECT 1 FROM lanes WHERE subscription_id = $1 FOR UPDATE", subscription_id
    )
    marked = await connection.fetchval(
        """
        UPDATE push_subscriptions SET verified_at = now()
        WHERE id = $1 AND verified_at IS NULL RETURNING true
        """,
        subscription_id,
    )
    if marked is None:
        return False
    await connection.execute(
        """
        UPDATE lanes SET is_open = true,
            due_at = CASE WHEN paused_at IS NULL AND target > cursor THEN now() END
        WHERE subscription_id = $1
        """,
        subscription_id,
    )
    return True
