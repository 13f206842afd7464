"""Bearer tokens in PostgreSQL: 256 random bits each, of which only the SHA-256 is kept."""

import base64
import hashlib
import secrets
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from shared.store.ids import new_id
from shared.store.people import UnknownNameError
from shared.store.pool import Connection
from shared.store.push_subscriptions import delete_push_subscriptions_of_token

SCOPES = frozenset({"jmap", "append", "operate"})

_TOKEN_BYTES = 32


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request comes from, and what its token allows."""

    id: str
    user_id: str
    user_name: str
    scopes: frozenset[str]
    expires_at: datetime | None
    is_kept: bool = True  # in the table of tokens, where it can be revoked; a JWT is not

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class UnknownScopeError(ValueError):
    """`scopes` are those that do not exist."""

    def __init__(self, scopes: Collection[str]) -> None:
        super().__init__(f"unknown scope: {', '.join(sorted(scopes))}")
        self.scopes = sorted(scopes)


class UnknownTokenError(LookupError):
    """There is no such token, or it was revoked before."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"no token with the id {token_id!r}")
        self.token_id = token_id


async def issue_token(
    pool: asyncpg.Pool,
    user_name: str,
    scopes: Collection[str] = ("jmap",),
    ttl: timedelta | None = None,
) -> tuple[str, str]:
    """Returns its id and the token itself, which cannot be had again. No `ttl`: for ever.

    Raises UnknownScopeError, UnknownNameError.
    """
    if unknown := set(scopes) - SCOPES:
        raise UnknownScopeError(unknown)
    token = base64.urlsafe_b64encode(secrets.token_bytes(_TOKEN_BYTES)).decode().rstrip("=")
    token_id = await pool.fetchval(
        """
        INSERT INTO tokens (id, user_id, hash, scopes, expires_at)
        SELECT $1, id, $2, $3, now() + $4::interval FROM users WHERE name = $5
        RETURNING id
        """,
        new_id("t"),
        _hash(token),
        sorted(set(scopes)),
        ttl,
        user_name,
    )
    if token_id is None:
        raise UnknownNameError("user", user_name)
    return str(token_id), token


async def revoke_token(pool: asyncpg.Pool, token_id: str) -> list[str]:
    """The push subscriptions that ended with it, erased already (RFC 8620 section 7.2).

    Tell the running processes too: shared/bus/control.py. Raises UnknownTokenError.
    """
    async with pool.acquire() as connection, connection.transaction():
        found = await connection.fetchval(
            """
            UPDATE tokens SET revoked_at = now()
            WHERE id = $1 AND revoked_at IS NULL RETURNING id
            """,
            token_id,
        )
        if found is None:
            raise UnknownTokenError(token_id)
        return await delete_push_subscriptions_of_token(connection, token_id)


async def hold_credential(connection: Connection, credential: Credential) -> bool:
    """Whether it is still good; it will not be revoked before the transaction ends."""
    if not credential.is_kept:
        return (
            await connection.fetchval(
                "SELECT $1::timestamptz IS NULL OR $1 > now()", credential.expires_at
            )
            is True
        )
    held = await connection.fetchval(
        """
        SELECT true FROM tokens WHERE id = $1 AND revoked_at IS NULL
            AND (expires_at IS NULL OR expires_at > now())
        FOR SHARE
        """,
        credential.id,
    )
    return held is True


async def find_credential(pool: asyncpg.Pool, token: str) -> Credential | None:
    """None: unknown, revoked or expired."""
    row = await pool.fetchrow(
        """
        SELECT tokens.id, tokens.user_id, users.name, tokens.scopes, tokens.expires_at
        FROM tokens JOIN users ON users.id = tokens.user_id
        WHERE tokens.hash = $1 AND tokens.revoked_at IS NULL
          AND (tokens.expires_at IS NULL OR tokens.expires_at > now())
        """,
        _hash(token),
    )
    if row is None:
        return None
    expires_at = row["expires_at"]
    return Credential(
        id=row["id"],
        user_id=row["user_id"],
        user_name=row["name"],
        scopes=frozenset(row["scopes"]),
        expires_at=None if expires_at is None else expires_at.astimezone(UTC),
    )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
