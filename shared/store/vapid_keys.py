"""The keys that sign webhooks (RFC 8292, RFC 9749), their private halves sealed.

One is active. A rotated one signs for the subscriptions made under it until it retires.
"""

from datetime import datetime, timedelta

import asyncpg
import msgspec

from shared.store.ids import new_id
from shared.store.pool import Connection, Executor
from shared.web_push.sealing import UnsealError, Vault
from shared.web_push.vapid import VapidKey, VapidKeyError


class StoredVapidKey(msgspec.Struct, frozen=True, kw_only=True):
    """`public_key`: 65 octets, an uncompressed point of P-256; `retires_at` None: active."""

    id: str
    public_key: bytes
    created_at: datetime
    retires_at: datetime | None
    subscriptions: int = 0


async def active_vapid_key(executor: Executor) -> StoredVapidKey | None:
    row = await executor.fetchrow(
        """
        SELECT id, public_key, created_at, retires_at FROM vapid_keys WHERE retires_at IS NULL
        """
    )
    return None if row is None else StoredVapidKey(**row)


async def hold_active_vapid_key(connection: Connection) -> str:
    """Its id; until the transaction ends, it stays the active one. Raises LookupError."""
    key_id = await connection.fetchval(
        "SELECT id FROM vapid_keys WHERE retires_at IS NULL FOR SHARE"
    )
    if key_id is None:  # rotated while we waited for its lock: ask with a new snapshot
        key_id = await connection.fetchval(
            "SELECT id FROM vapid_keys WHERE retires_at IS NULL FOR SHARE"
        )
    if key_id is None:
        raise LookupError("no VAPID key is active")
    return str(key_id)


async def ensure_vapid_key(pool: asyncpg.Pool, vault: Vault, new: VapidKey) -> StoredVapidKey:
    """The active key; `new` becomes it where there is none. Whoever comes first wins."""
    active = await active_vapid_key(pool)
    if active is None:
        await _insert(pool, vault, new)
        active = await active_vapid_key(pool)
    if active is None:
        raise LookupError("no VAPID key is active")
    return active


async def signing_vapid_key(executor: Executor, vault: Vault, key_id: str) -> VapidKey | None:
    """None: there is none of that id, or it was destroyed. Raises UnsealError."""
    sealed = await executor.fetchval("SELECT sealed_private FROM vapid_keys WHERE id = $1", key_id)
    if sealed is None:
        return None
    try:
        return VapidKey.from_private(vault.unseal(sealed, purpose=_purpose(key_id)))
    except VapidKeyError as error:
        raise UnsealError(_purpose(key_id)) from error


async def rotate_vapid_key(
    pool: asyncpg.Pool, vault: Vault, new: VapidKey, *, grace: timedelta
) -> tuple[StoredVapidKey, StoredVapidKey | None]:
    """The new active key and the one before, which retires after `grace`."""
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            """
            UPDATE vapid_keys SET retires_at = now() + $1::interval
            WHERE retires_at IS NULL RETURNING id, public_key, created_at, retires_at
            """,
            grace,
        )
        await _insert(connection, vault, new)
        active = await active_vapid_key(connection)
    if active is None:
        raise LookupError("no VAPID key is active")
    return active, None if row is None else StoredVapidKey(**row)


async def vapid_keys(executor: Executor) -> list[StoredVapidKey]:
    """Those that still sign, the active one first, with how many subscriptions they sign for."""
    rows = await executor.fetch(
        """
        SELECT id, public_key, created_at, retires_at,
            (SELECT count(*) FROM push_subscriptions
             WHERE vapid_key_id = vapid_keys.id) AS subscriptions
        FROM vapid_keys WHERE sealed_private IS NOT NULL
        ORDER BY retires_at DESC NULLS FIRST
        """
    )
    return [StoredVapidKey(**row) for row in rows]


async def destroy_retired_vapid_keys(executor: Executor) -> list[str]:
    """The private halves of those that nothing was made under, or all of it was ended."""
    rows = await executor.fetch(
        """
        UPDATE vapid_keys SET sealed_private = NULL
        WHERE retires_at <= now() AND sealed_private IS NOT NULL AND NOT EXISTS (
            SELECT FROM push_subscriptions WHERE vapid_key_id = vapid_keys.id)
        RETURNING id
        """
    )
    return [row["id"] for row in rows]


async def _insert(executor: Executor, vault: Vault, new: VapidKey) -> None:
    key_id = new_id("v")
    await executor.execute(
        """
        INSERT INTO vapid_keys (id, public_key, sealed_private) VALUES ($1, $2, $3)
        ON CONFLICT ((true)) WHERE retires_at IS NULL DO NOTHING
        """,
        key_id,
        new.public,
        vault.seal(new.private, purpose=_purpose(key_id)),
    )


def _purpose(key_id: str) -> str:
    return f"vapid:{key_id}"
