"""Accounts that are being removed: hidden at once, erased, forgotten later (docs/adr/0022).

    here ── begin_removal ──► removed ── note_ended ──► ended ── forget_account ──► gone

Everybody who writes to an account looks at `removed_at` under a lock that `begin_removal` conflicts
with, so what it finds after its commit is all there will ever be to erase.
"""

from datetime import datetime, timedelta

import asyncpg
import msgspec

from shared.store.people import UnknownNameError
from shared.store.pool import Connection

_ROWS_AT_ONCE = 5_000
_PIECES_AT_ONCE = 64  # 16 MB of blobs
_ACCOUNTS_AT_ONCE = 100


class RemovedAccount(msgspec.Struct, frozen=True, kw_only=True):
    """`user_ids` held grants until now, for control messages; none when it was removed before."""

    id: str
    name: str
    removed_at: datetime
    user_ids: frozenset[str]


async def find_account_to_remove(pool: asyncpg.Pool, account: str) -> tuple[str, str]:
    """Id and name; of those with a name one that is there, else one whose removal began.

    Raises UnknownNameError.
    """
    rows = await pool.fetch(
        """
        SELECT id, name, removed_at IS NOT NULL AS is_removed FROM accounts
        WHERE id = $1 OR name = $1 ORDER BY id = $1 DESC, is_removed LIMIT 2
        """,
        account,
    )
    if not rows:
        raise UnknownNameError("account", account)
    first, *others = rows
    if first["id"] != account and any(first["is_removed"] == it["is_removed"] for it in others):
        raise UnknownNameError("single account", account)
    return first["id"], first["name"]


async def begin_removal(pool: asyncpg.Pool, account_id: str) -> RemovedAccount:
    """From its commit on nobody sees the account, and a rebuilt log does not have it.

    Repeating it is harmless. Raises UnknownNameError: it is gone.
    """
    async with pool.acquire() as connection, connection.transaction():
        # Conflicts with whoever has just inserted something that refers to the account.
        name = await connection.fetchval(
            "SELECT name FROM accounts WHERE id = $1 FOR UPDATE", account_id
        )
        if name is None:
            raise UnknownNameError("account", account_id)
        removed_at = await connection.fetchval(
            """
            UPDATE accounts SET removed_at = coalesce(removed_at, now())
            WHERE id = $1 RETURNING removed_at
            """,
            account_id,
        )
        rows = await connection.fetch(
            "DELETE FROM grants WHERE account_id = $1 RETURNING user_id", account_id
        )
        await connection.execute("DELETE FROM type_states WHERE account_id = $1", account_id)
    return RemovedAccount(
        id=account_id,
        name=name,
        removed_at=removed_at,
        user_ids=frozenset(row["user_id"] for row in rows),
    )


async def erase_rows(pool: asyncpg.Pool, account_id: str) -> None:
    """All that a removed account has, in short transactions; may be repeated from anywhere."""
    for table, rows_max in (
        ("blob_pieces", _PIECES_AT_ONCE),
        ("blobs", _ROWS_AT_ONCE),
        ("records", _ROWS_AT_ONCE),
        ("outbox", _ROWS_AT_ONCE),
    ):
        # Not until none was deleted: somebody else may have just taken the very same rows.
        while await pool.fetchval(_ANY_LEFT.format(table=table), account_id):
            await pool.execute(_ERASE.format(table=table), account_id, rows_max)
    async with pool.acquire() as connection, connection.transaction():
        await _forget_what_lanes_told(connection, account_id)


_ERASE = """
    DELETE FROM {table} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {table} WHERE account_id = $1 LIMIT $2))
"""
_ANY_LEFT = "SELECT EXISTS (SELECT FROM {table} WHERE account_id = $1)"


async def _forget_what_lanes_told(connection: Connection, account_id: str) -> None:
    """Locked in the order of whoever else locks several lanes."""
    await connection.execute(
        """
        WITH locked AS (
            SELECT subscription_id FROM lanes WHERE told ? $1
            ORDER BY subscription_id FOR NO KEY UPDATE
        )
        UPDATE lanes SET told = told - $1
        FROM locked WHERE locked.subscription_id = lanes.subscription_id
        """,
        account_id,
    )


async def note_ended(pool: asyncpg.Pool, account_id: str) -> None:
    """The log has the tombstone, and nothing else of the account is left anywhere."""
    await pool.execute(
        "UPDATE accounts SET ended_at = coalesce(ended_at, now())"
        " WHERE id = $1 AND removed_at IS NOT NULL",
        account_id,
    )


async def accounts_to_end(pool: asyncpg.Pool) -> list[tuple[str, datetime]]:
    """Some of those whose removal began and did not end: id and when it began."""
    rows = await pool.fetch(
        """
        SELECT id, removed_at FROM accounts WHERE removed_at IS NOT NULL AND ended_at IS NULL
        ORDER BY removed_at LIMIT $1
        """,
        _ACCOUNTS_AT_ONCE,
    )
    return [(row["id"], row["removed_at"]) for row in rows]


async def accounts_to_forget(pool: asyncpg.Pool, *, ended_before: timedelta) -> list[str]:
    """Some of those whose content was erased longer ago than that."""
    rows = await pool.fetch(
        """
        SELECT id FROM accounts WHERE removed_at IS NOT NULL AND ended_at < now() - $1::interval
        ORDER BY removed_at LIMIT $2
        """,
        ended_before,
        _ACCOUNTS_AT_ONCE,
    )
    return [row["id"] for row in rows]


async def forget_account(pool: asyncpg.Pool, account_id: str) -> None:
    """The last row of it."""
    async with pool.acquire() as connection, connection.transaction():
        await _forget_what_lanes_told(connection, account_id)
        await connection.execute(
            "DELETE FROM accounts WHERE id = $1 AND removed_at IS NOT NULL", account_id
        )


async def account_exists(pool: asyncpg.Pool, account_id: str) -> bool:
    """False also from the moment on at which its removal began."""
    found = await pool.fetchval(
        "SELECT true FROM accounts WHERE id = $1 AND removed_at IS NULL", account_id
    )
    return found is True
