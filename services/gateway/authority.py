"""What people may see, and whether their tokens still hold: read again as time goes by.

A control message says at once that something changed; a sweep over all who are connected finds
what a lost message did not say.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection

import asyncpg

CACHE_SECONDS = 2.0
_USERS_MAX = 10_000

# Of an account of others in which nothing is subscribed to, nothing is pushed (RFC 9670 1.4).
_VISIBLE = """
SELECT account_id FROM grants WHERE user_id = $1 AND (is_subscribed OR role = 'owner')
"""
_VISIBLE_TO_MANY = """
SELECT user_id, array_agg(account_id) AS account_ids FROM grants
WHERE user_id = ANY($1) AND (is_subscribed OR role = 'owner') GROUP BY 1
"""
_VALID_TOKENS = """
SELECT id FROM tokens
WHERE id = ANY($1) AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


class Authority:
    """Looks accounts up, and remembers the answer for CACHE_SECONDS."""

    def __init__(self, pool: asyncpg.Pool, *, monotonic: Callable[[], float]) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._cache: OrderedDict[str, tuple[float, frozenset[str]]] = OrderedDict()
        self._generation = 0

    async def visible_accounts(self, user_id: str) -> frozenset[str]:
        until, accounts = self._cache.get(user_id, (0.0, frozenset[str]()))
        now = self._monotonic()
        if until > now:
            return accounts
        generation = self._generation
        rows = await self._pool.fetch(_VISIBLE, user_id)
        accounts = frozenset(row["account_id"] for row in rows)
        if generation == self._generation:  # else a grant changed while it was read
            self._cache.pop(user_id, None)
            self._cache[user_id] = (now + CACHE_SECONDS, accounts)
            while len(self._cache) > _USERS_MAX:
                self._cache.popitem(last=False)
        return accounts

    def forget(self, user_id: str) -> None:
        """The user's grants changed."""
        self._generation += 1
        self._cache.pop(user_id, None)

    async def visible_to_many(self, user_ids: Collection[str]) -> dict[str, frozenset[str]]:
        """As it is now; who sees nothing is left out."""
        rows = await self._pool.fetch(_VISIBLE_TO_MANY, list(user_ids))
        return {row["user_id"]: frozenset(row["account_ids"]) for row in rows}

    async def valid_tokens(self, token_ids: Collection[str]) -> frozenset[str]:
        rows = await self._pool.fetch(_VALID_TOKENS, list(token_ids))
        return frozenset(row["id"] for row in rows)
