"""What PostgreSQL knows of subscriptions, rights and their past."""

from datetime import datetime

import asyncpg
import msgspec

from shared.operate.explain.evidence import (
    AccessEvidence,
    AttemptEvidence,
    EndedSubscription,
    Grant,
    GrantChange,
    SubscriptionEvidence,
    Types,
    TypesChange,
)
from shared.store.people import UnknownNameError
from shared.web_push.endpoint import EndpointError, read_endpoint
from shared.web_push.endpoint_secrets import unseal_endpoint
from shared.web_push.sealing import SealingKey, UnsealError, Vault

_OF_USER_MAX = 200  # subscriptions, and as many that ended
_told = msgspec.json.Decoder(dict[str, int])


class User(msgspec.Struct, frozen=True):
    id: str
    name: str


class ReceiverReader:
    """`vault` None: what is sealed, as the endpoints' answers, is left out."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault | None) -> None:
        self._pool = pool
        self._vault = vault

    async def now(self) -> datetime:
        """By the clock that lanes go by."""
        now: datetime = await self._pool.fetchval("SELECT now()")
        return now

    async def user(self, name: str) -> User:
        """By id or name. Raises UnknownNameError."""
        row = await self._pool.fetchrow(
            "SELECT id, name FROM users WHERE id = $1 OR name = $1 ORDER BY id = $1 DESC LIMIT 1",
            name,
        )
        if row is None:
            raise UnknownNameError("user", name)
        return User(row["id"], row["name"])

    async def user_of(self, subscription_id: str) -> str | None:
        """Also of one that ended lately."""
        user_id: str | None = await self._pool.fetchval(
            """
            SELECT user_id FROM push_subscriptions WHERE id = $1
            UNION ALL SELECT user_id FROM ended_push_subscriptions WHERE id = $1 LIMIT 1
            """,
            subscription_id,
        )
        return user_id

    async def accounts(self, user_id: str) -> list[str]:
        """That the user sees, or saw."""
        rows = await self._pool.fetch(
            """
            SELECT account_id FROM grants WHERE user_id = $1
            UNION SELECT account_id FROM grant_changes WHERE user_id = $1
            """,
            user_id,
        )
        return [row["account_id"] for row in rows]

    async def access(self, user_id: str, account_id: str) -> AccessEvidence:
        now = await self._pool.fetchrow(
            "SELECT role, is_subscribed FROM grants WHERE user_id = $1 AND account_id = $2",
            user_id,
            account_id,
        )
        rows = await self._pool.fetch(
            """
            SELECT at, role_before, subscribed_before, role_after, subscribed_after
            FROM grant_changes WHERE user_id = $1 AND account_id = $2 ORDER BY id
            """,
            user_id,
            account_id,
        )
        return AccessEvidence(
            None if now is None else Grant(now["role"], now["is_subscribed"]),
            tuple(
                GrantChange(
                    row["at"],
                    _grant(row["role_before"], row["subscribed_before"]),
                    _grant(row["role_after"], row["subscribed_after"]),
                )
                for row in rows
            ),
        )

    async def subscription_ids(self, user_id: str) -> list[str]:
        """The newest first."""
        rows = await self._pool.fetch(
            """
            SELECT id FROM push_subscriptions WHERE user_id = $1
            ORDER BY created_at DESC LIMIT $2
            """,
            user_id,
            _OF_USER_MAX,
        )
        return [row["id"] for row in rows]

    async def ended_subscriptions(self, user_id: str) -> list[EndedSubscription]:
        """Those of which something is left, the newest end first."""
        rows = await self._pool.fetch(
            _ENDED + " WHERE ended.user_id = $1 ORDER BY ended_at DESC LIMIT $2",
            user_id,
            _OF_USER_MAX,
        )
        return [_ended(row) for row in rows]

    async def ended_subscription(self, subscription_id: str) -> EndedSubscription | None:
        row = await self._pool.fetchrow(_ENDED + " WHERE ended.id = $1", subscription_id)
        return None if row is None else _ended(row)

    async def subscription(self, subscription_id: str) -> SubscriptionEvidence | None:
        """None: there is none, or no more."""
        row = await self._pool.fetchrow(_SUBSCRIPTION, subscription_id)
        if row is None:
            return None
        origin, key = self._opened(row)
        changes = await self._pool.fetch(
            """
            SELECT at, types_before FROM push_subscription_types
            WHERE subscription_id = $1 ORDER BY id
            """,
            subscription_id,
        )
        attempts = await self._pool.fetch(
            """
            SELECT at, kind, outcome, status, milliseconds, cursor, sealed_answer,
                retry_after_seconds
            FROM delivery_attempts WHERE subscription_id = $1 AND place >= 0 ORDER BY at
            """,
            subscription_id,
        )
        facts = {name: row[name] for name in _SAME}
        return SubscriptionEvidence(
            **facts,
            origin=origin,
            types=_types(row["types"]),
            types_changes=tuple(
                TypesChange(change["at"], _types(change["types_before"])) for change in changes
            ),
            told=_told.decode(row["told"]),
            is_leased=row["lease"] is not None,
            attempts=tuple(_attempt(attempt, key, subscription_id) for attempt in attempts),
            attempts_made=row["attempts"],
        )

    def _opened(self, row: asyncpg.Record) -> tuple[str | None, SealingKey | None]:
        """Where it goes, without the path, which is a secret; and what opens its answers."""
        if self._vault is None:
            return None, None
        try:
            key = self._vault.unwrap(row["wrapped"], row["id"])
            endpoint = unseal_endpoint(key, row["id"], row["sealed"])
        except UnsealError:  # another TIDINGS_SECRET_KEY than the deployment's
            return None, None
        try:
            return read_endpoint(endpoint.url).origin, key
        except EndpointError:  # of other rules than today's
            return None, key


_SAME = (
    "id",
    "user_id",
    "user_name",
    "device_client_id",
    "created_at",
    "verification_started_at",
    "verified_at",
    "ends_at",
    "token_id",
    "token_revoked_at",
    "token_expires_at",
    "cursor",
    "target",
    "behind_since",
    "due_at",
    "not_before",
    "waits_for",
    "window_ms",
    "failures",
    "failing_since",
    "paused_at",
    "busy_of_origin",
)

_SUBSCRIPTION = """
    SELECT s.id, s.user_id, users.name AS user_name, s.device_client_id, s.types, s.created_at,
        s.verification_started_at, s.verified_at, s.ends_at, s.token_id, s.sealed, k.wrapped,
        tokens.revoked_at AS token_revoked_at, tokens.expires_at AS token_expires_at,
        lanes.*,
        (SELECT count(*) FROM lanes AS other WHERE other.origin = lanes.origin
            AND other.lease IS NOT NULL AND other.due_at > now()
            AND (other.failures > 0) = (lanes.failures > 0)
            AND other.subscription_id <> lanes.subscription_id) AS busy_of_origin
    FROM push_subscriptions AS s
    JOIN users ON users.id = s.user_id
    JOIN lanes ON lanes.subscription_id = s.id
    JOIN push_subscription_keys AS k ON k.subscription_id = s.id
    LEFT JOIN tokens ON tokens.id = s.token_id
    WHERE s.id = $1
"""

_ENDED = """
    SELECT ended.id, ended.user_id, users.name AS user_name, types, ended.created_at, verified_at,
        ended_at, because, cursor
    FROM ended_push_subscriptions AS ended JOIN users ON users.id = ended.user_id
"""


def _ended(row: asyncpg.Record) -> EndedSubscription:
    return msgspec.convert(dict(row), EndedSubscription)


def _grant(role: str | None, is_subscribed: bool | None) -> Grant | None:  # noqa: FBT001 - a row
    return None if role is None else Grant(role, is_subscribed is True)


def _types(types: list[str] | None) -> Types:
    return None if types is None else tuple(types)


def _attempt(row: asyncpg.Record, key: SealingKey | None, subscription_id: str) -> AttemptEvidence:
    answer = None
    if row["sealed_answer"] is not None and key is not None:
        said = key.unseal(row["sealed_answer"], purpose=f"answer:{subscription_id}")
        answer = said.decode(errors="replace")
    return AttemptEvidence(
        at=row["at"],
        kind=row["kind"],
        outcome=row["outcome"],
        status=row["status"],
        milliseconds=row["milliseconds"],
        cursor=row["cursor"],
        answer=answer,
        retry_after_seconds=row["retry_after_seconds"],
    )
