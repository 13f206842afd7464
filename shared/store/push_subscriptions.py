"""PushSubscriptions in PostgreSQL (RFC 8620 section 7.2), each with its lane (docs/adr/0009).

Whoever locks a subscription locks its lane first: workers hold the lane while they write attempts.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Literal, TypeAlias

import asyncpg
import msgspec

from shared.store.pool import Connection, Executor
from shared.web_push.endpoint_secrets import Endpoint, seal_endpoint
from shared.web_push.sealing import Vault

EndedBecause: TypeAlias = Literal["destroyed", "gone"]
"""By its client; by its endpoint, which answered 404 or 410. The database knows of other ends."""


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


class StoredPushSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """`sealed` is an Endpoint under the key in `wrapped`; `is_code_given`: by the client."""

    id: str
    device_client_id: str
    sealed: bytes
    wrapped: bytes
    types: list[str] | None
    expires_at: datetime | None
    is_code_given: bool


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


_OF_CREDENTIAL = """
    SELECT s.id, s.device_client_id, s.sealed, k.wrapped, s.types, s.expires_at,
        s.code_given_at IS NOT NULL AS is_code_given
    FROM push_subscriptions AS s JOIN push_subscription_keys AS k ON k.subscription_id = s.id
    WHERE s.credential_id = $1 AND s.ends_at > now() AND ($2::text[] IS NULL OR s.id = ANY ($2))
    ORDER BY s.created_at, s.id
"""


async def read_push_subscriptions(
    executor: Executor, credential_id: str, ids: Collection[str] | None
) -> list[StoredPushSubscription]:
    """Those of one credential that have not ended; `ids` None: all."""
    rows = await executor.fetch(_OF_CREDENTIAL, credential_id, None if ids is None else list(ids))
    return [StoredPushSubscription(**row) for row in rows]


async def lock_push_subscriptions(
    connection: Connection, credential_id: str, ids: Collection[str]
) -> list[StoredPushSubscription]:
    """As `read_push_subscriptions`; nobody else changes them until the transaction ends."""
    await _lock_lanes(connection, ids)
    return await read_push_subscriptions(connection, credential_id, ids)


async def update_push_subscription(
    connection: Connection,
    subscription_id: str,
    *,
    types: list[str] | None,
    lifetime: tuple[datetime | None, datetime] | None,
) -> None:
    """`lifetime`: when it expires and ends, None: as before. Nothing is told again."""
    expires_at, ends_at = lifetime or (None, None)
    await connection.execute(
        """
        UPDATE push_subscriptions SET types = $2,
            expires_at = CASE WHEN $4::timestamptz IS NULL THEN expires_at ELSE $3 END,
            ends_at = coalesce($4, ends_at)
        WHERE id = $1
        """,
        subscription_id,
        types,
        expires_at,
        ends_at,
    )


async def mark_code_given(connection: Connection, subscription_id: str) -> bool:
    """The client sent the right code; returns what `mark_verified` does. In a transaction."""
    is_first = await mark_verified(connection, subscription_id)
    await connection.execute(
        "UPDATE push_subscriptions SET code_given_at = now() WHERE id = $1", subscription_id
    )
    return is_first


async def delete_push_subscriptions(
    connection: Connection, ids: Collection[str], because: EndedBecause | None = None
) -> list[str]:
    """With their keys, lanes and attempts; returns those that were there. In a transaction.

    `because` is kept for `tidings explain`; None: the database knows it.
    """
    await connection.execute("SELECT set_config('tidings.ended_because', $1, true)", because or "")
    await _lock_lanes(connection, ids)
    await _lock_attempts(connection, ids)
    rows = await connection.fetch(
        "DELETE FROM push_subscriptions WHERE id = ANY ($1) RETURNING id", list(ids)
    )
    return [row["id"] for row in rows]


async def delete_push_subscriptions_of_token(connection: Connection, token_id: str) -> list[str]:
    """The same, for a token whose row is locked: so no new ones come meanwhile."""
    rows = await connection.fetch("SELECT id FROM push_subscriptions WHERE token_id = $1", token_id)
    return await delete_push_subscriptions(connection, [row["id"] for row in rows])


async def delete_ended_push_subscriptions(connection: Connection, *, count_max: int) -> list[str]:
    """The same, for those that have ended, and those whose VAPID key is retired.

    Those that somebody works on wait for the next time.
    """
    rows = await connection.fetch(
        """
        SELECT subscription_id FROM lanes WHERE subscription_id IN (
            (SELECT id FROM push_subscriptions WHERE ends_at <= now() LIMIT $1)
            UNION ALL
            (SELECT s.id FROM vapid_keys AS v JOIN push_subscriptions AS s ON s.vapid_key_id = v.id
             WHERE v.retires_at <= now() LIMIT $1))
        ORDER BY subscription_id FOR UPDATE SKIP LOCKED
        """,
        count_max,
    )
    ids = [row["subscription_id"] for row in rows]
    await _lock_attempts(connection, ids)
    ended = await connection.fetch(
        """
        DELETE FROM push_subscriptions AS s USING vapid_keys AS v
        WHERE s.id = ANY ($1) AND v.id = s.vapid_key_id
            AND (s.ends_at <= now() OR v.retires_at <= now())
        RETURNING s.id
        """,
        ids,
    )
    return [row["id"] for row in ended]


async def vacuum_secrets(pool: asyncpg.Pool) -> None:
    """Lets PostgreSQL use the room again in which erased secrets, still sealed, are left."""
    await pool.execute("VACUUM (SKIP_LOCKED) push_subscription_keys, push_subscriptions")


class Creations(msgspec.Struct, frozen=True):
    """How many a user has, and how many more it may make just now."""

    held: int
    allowance: int


async def hold_creations(connection: Connection, user_id: str, *, per_hour: int) -> Creations:
    """Nobody else creates any of this user's until the transaction ends.

    The allowance is at most `per_hour`, and fills up at that pace.
    """
    allowance = await connection.fetchval(
        """
        INSERT INTO push_creations AS c (user_id, allowance, counted_at)
        VALUES ($1, $2, clock_timestamp())
        ON CONFLICT (user_id) DO UPDATE SET
            counted_at = greatest(c.counted_at, clock_timestamp()),
            allowance = least($2, c.allowance + $2 * greatest(0,
                extract(epoch FROM clock_timestamp() - c.counted_at)::float8 / 3600))
        RETURNING allowance
        """,
        user_id,
        float(per_hour),
    )
    held = await connection.fetchval(
        "SELECT count(*) FROM push_subscriptions WHERE user_id = $1", user_id
    )
    return Creations(int(held), int(allowance))


async def spend_creations(connection: Connection, user_id: str, count: int) -> None:
    """Take from what `hold_creations` found."""
    await connection.execute(
        "UPDATE push_creations SET allowance = allowance - $2 WHERE user_id = $1",
        user_id,
        float(count),
    )


async def _lock_lanes(connection: Connection, ids: Collection[str]) -> None:
    """In the order in which all lock them."""
    await connection.execute(
        """
        SELECT FROM lanes WHERE subscription_id = ANY ($1)
        ORDER BY subscription_id FOR UPDATE
        """,
        list(ids),
    )


async def _lock_attempts(connection: Connection, ids: Collection[str]) -> None:
    """They are written without a lane's lock, so whoever deletes locks them in the same order.

    Before the subscriptions themselves, which the writer of a new attempt locks last.
    """
    await connection.execute(
        """
        SELECT FROM delivery_attempts WHERE subscription_id = ANY ($1)
        ORDER BY subscription_id, place FOR UPDATE
        """,
        list(ids),
    )
    await connection.execute(
        "SELECT FROM push_subscriptions WHERE id = ANY ($1) ORDER BY id FOR UPDATE", list(ids)
    )
