"""What a replay to one subscription needs: who may be told what just now, and its own attempts.

A replay reads the lane and never writes it: the cursor stays, whatever is replayed.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from shared.store.lanes import Recipient
from shared.store.pool import Executor

_REPLAYS_KEPT = 32


class ReplayRecipient(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription as it is now; `accounts` are those that its user sees."""

    recipient: Recipient
    accounts: Sequence[str]
    types: Sequence[str] | None
    verified_at: datetime | None
    has_ended: bool
    is_credential_good: bool

    @property
    def why_not(self) -> str | None:
        """Why nothing may be sent to it."""
        if self.has_ended:
            return "it has ended"
        if not self.is_credential_good:
            return "its credential was revoked or has expired"
        if self.verified_at is None:
            return "it was not verified"
        return None


async def read_replay_recipient(executor: Executor, subscription_id: str) -> ReplayRecipient | None:
    """None: there is no such subscription, or no more: it ends with its credential."""
    row = await executor.fetchrow(
        """
        SELECT s.id, s.vapid_key_id, s.sealed, k.wrapped, s.ends_at, s.types, s.verified_at,
            s.ends_at <= now() AS has_ended,
            s.token_id IS NULL OR EXISTS (
                SELECT FROM tokens WHERE tokens.id = s.token_id AND revoked_at IS NULL
                    AND (tokens.expires_at IS NULL OR tokens.expires_at > now())
            ) AS is_credential_good,
            ARRAY(SELECT account_id FROM grants WHERE grants.user_id = s.user_id
                  AND (is_subscribed OR role = 'owner')) AS accounts
        FROM push_subscriptions AS s
        JOIN push_subscription_keys AS k ON k.subscription_id = s.id
        WHERE s.id = $1
        """,
        subscription_id,
    )
    if row is None:
        return None
    return ReplayRecipient(
        recipient=Recipient(
            id=row["id"],
            vapid_key_id=row["vapid_key_id"],
            sealed=row["sealed"],
            wrapped_key=row["wrapped"],
            ends_at=row["ends_at"],
        ),
        accounts=row["accounts"],
        types=row["types"],
        verified_at=row["verified_at"],
        has_ended=row["has_ended"],
        is_credential_good=row["is_credential_good"],
    )


def place_of_replay(number: int) -> int:
    """Below those of the lane's own attempts, which a long replay must not push out of the ring."""
    return -1 - number % _REPLAYS_KEPT


async def next_replay_number(executor: Executor, subscription_id: str) -> int:
    """Whose place is behind that of the newest replay."""
    place: int | None = await executor.fetchval(
        """
        SELECT place FROM delivery_attempts WHERE subscription_id = $1 AND place < 0
        ORDER BY at DESC LIMIT 1
        """,
        subscription_id,
    )
    return 0 if place is None else -place
