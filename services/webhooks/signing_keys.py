"""The keys that sign, by the id that each subscription keeps (RFC 9749 section 4)."""

import asyncpg

from shared.store.vapid_keys import signing_vapid_key
from shared.web_push.sealing import Vault
from shared.web_push.vapid import VapidKey


class SigningKeyGoneError(LookupError):
    """The key was destroyed, and the subscriptions that it signs for with it."""


class SigningKeys:
    """Loads each key once; there are as many as were rotated within a grace."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._keys: dict[str, VapidKey] = {}
        self._forgotten = 0  # times

    def forget(self) -> None:
        """One may have been destroyed."""
        self._keys.clear()
        self._forgotten += 1

    async def key(self, key_id: str) -> VapidKey:
        """Raises POSTGRES_ERRORS, UnsealError, SigningKeyGoneError."""
        known = self._keys.get(key_id)
        if known is None:
            forgotten = self._forgotten
            known = await signing_vapid_key(self._pool, self._vault, key_id)
            if known is None:
                raise SigningKeyGoneError(key_id)
            if forgotten == self._forgotten:  # else it may have been destroyed meanwhile
                self._keys[key_id] = known
        return known
