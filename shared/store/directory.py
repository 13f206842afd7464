"""Who and what there is, for operators: users, their tokens, who sees which account."""

from datetime import datetime

import asyncpg
import msgspec


class ListedUser(msgspec.Struct, frozen=True, kw_only=True):
    """`account` is the personal one; None once that was removed."""

    id: str
    name: str
    account: str | None
    created_at: datetime


class ListedToken(msgspec.Struct, frozen=True, kw_only=True):
    """Never the token itself: only its hash is kept."""

    id: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class ListedGrant(msgspec.Struct, frozen=True, kw_only=True):
    account: str
    account_name: str
    user: str
    user_name: str
    role: str


async def list_users(pool: asyncpg.Pool, prefix: str, *, users_max: int) -> list[ListedUser]:
    """Those whose name begins with `prefix`, by name."""
    rows = await pool.fetch(
        """
        SELECT u.id, u.name, u.created_at, (
            SELECT a.id FROM grants AS g JOIN accounts AS a ON a.id = g.account_id
            WHERE g.user_id = u.id AND g.role = 'owner' AND a.is_personal LIMIT 1) AS account
        FROM users AS u WHERE starts_with(u.name, $1) ORDER BY u.name LIMIT $2
        """,
        prefix,
        users_max,
    )
    return [ListedUser(**row) for row in rows]


async def list_tokens(pool: asyncpg.Pool, user_id: str, *, tokens_max: int) -> list[ListedToken]:
    """All of a user's that are kept, the newest first, also those that have ended."""
    rows = await pool.fetch(
        """
        SELECT id, scopes, created_at, expires_at, revoked_at FROM tokens
        WHERE user_id = $1 ORDER BY created_at DESC, id LIMIT $2
        """,
        user_id,
        tokens_max,
    )
    return [ListedToken(**row) for row in rows]


async def list_grants(
    pool: asyncpg.Pool, *, account_id: str | None, user_id: str | None, grants_max: int
) -> list[ListedGrant]:
    """Of the account, of the user, or of both."""
    rows = await pool.fetch(
        """
        SELECT g.account_id AS account, a.name AS account_name,
            g.user_id AS user, u.name AS user_name, g.role
        FROM grants AS g
        JOIN accounts AS a ON a.id = g.account_id
        JOIN users AS u ON u.id = g.user_id
        WHERE ($1::text IS NULL OR g.account_id = $1) AND ($2::text IS NULL OR g.user_id = $2)
        ORDER BY a.name, a.id, u.name LIMIT $3
        """,
        account_id,
        user_id,
        grants_max,
    )
    return [ListedGrant(**row) for row in rows]
