"""Tickets: a credential for the URL of a browser's EventSource or WebSocket, used once."""

import base64
import hashlib
import secrets
from datetime import UTC, datetime

import asyncpg
import msgspec

from shared.store.credentials import Credential

TICKET_SECONDS = 60
TICKETS_PER_TOKEN_MAX = 100
_TICKET_BYTES = 32

_ISSUE = """
INSERT INTO tickets (hash, token_id, expires_at)
SELECT $1, $2, now() + make_interval(secs => $3)
WHERE (SELECT count(*) FROM tickets WHERE token_id = $2 AND expires_at > now()) < $4
RETURNING expires_at
"""
_ISSUE_FOR_JWT = """
INSERT INTO tickets (hash, jwt, expires_at)
SELECT $1, $5, now() + make_interval(secs => $3)
WHERE (SELECT count(*) FROM tickets WHERE jwt ->> 'id' = $2 AND expires_at > now()) < $4
RETURNING expires_at
"""
_REDEEM = """
WITH used AS (DELETE FROM tickets WHERE hash = $1 RETURNING token_id, jwt, expires_at)
SELECT used.jwt, tokens.id, tokens.user_id, users.name AS user_name, tokens.scopes,
       tokens.expires_at, now() AS redeemed_at
FROM used
LEFT JOIN tokens ON tokens.id = used.token_id AND tokens.revoked_at IS NULL
  AND (tokens.expires_at IS NULL OR tokens.expires_at > now())
JOIN users ON users.id = COALESCE(tokens.user_id, used.jwt ->> 'user_id')
WHERE used.expires_at > now()
"""
_jwt_credentials = msgspec.json.Decoder(Credential)


class TooManyTicketsError(Exception):
    """The credential has TICKETS_PER_TOKEN_MAX that were not used yet."""


class Ticket(msgspec.Struct, frozen=True):
    """What the client gets; `expires` is aware."""

    ticket: str
    expires: datetime


class Tickets:
    """In PostgreSQL, so that any gateway redeems what another one issued, and only one of them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def issue(self, credential: Credential) -> Ticket:
        """Raises TooManyTicketsError."""
        text = base64.urlsafe_b64encode(secrets.token_bytes(_TICKET_BYTES)).decode().rstrip("=")
        values = (_hash(text), credential.id, TICKET_SECONDS, TICKETS_PER_TOKEN_MAX)
        if credential.is_kept:
            expires_at = await self._pool.fetchval(_ISSUE, *values)
        else:
            jwt = msgspec.json.encode(credential)
            expires_at = await self._pool.fetchval(_ISSUE_FOR_JWT, *values, jwt)
        if expires_at is None:
            raise TooManyTicketsError
        return Ticket(text, expires_at.astimezone(UTC))

    async def redeem(self, ticket: str) -> Credential | None:
        """Whose token it stands for; None: unknown, used, expired, or the token is no more."""
        row = await self._pool.fetchrow(_REDEEM, _hash(ticket))
        if row is None:
            return None
        if row["jwt"] is not None:
            credential = _jwt_credentials.decode(row["jwt"])
            return None if credential.is_expired(row["redeemed_at"]) else credential
        expires_at = row["expires_at"]
        return Credential(
            id=row["id"],
            user_id=row["user_id"],
            user_name=row["user_name"],
            scopes=frozenset(row["scopes"]),
            expires_at=None if expires_at is None else expires_at.astimezone(UTC),
        )

    async def forget_expired(self) -> None:
        await self._pool.execute("DELETE FROM tickets WHERE expires_at < now()")


def _hash(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
