"""The keys that sign, by the id that each subscription keeps (RFC 9749 section 4)."""

import asyncio

import asyncpg

from shared.store.vapid_keys import signing_vapid_key
from shared.web_push.sealing import Vault
from shared.web_push.vapid import VapidKey


class SigningKeyGoneError(LookupError):
    """The key was destroyed, and the subscriptions that it signs for with it."""


class SigningKeys:
    """Loads each key once, for all who wait; as many as were rotated within a grace are kept."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault
        self._keys: dict[str, VapidKey] = {}
        self._loading: dict[str, asyncio.Future[VapidKey | Exception | None]] = {}

    def forget(self) -> None:
        """One may have been destroyed."""
        self._keys.clear()
        self._loading.clear()

    async def key(self, key_id: str) -> VapidKey:
        """Raises POSTGRES_ERRORS, UnsealError, SigningKeyGoneError."""
        while True:
            known = self._keys.get(key_id)
            if known is not None:
                return known
            loading = self._loading.get(key_id)
            if loading is None:
                return await self._load(key_id)
            answer = await asyncio.shield(loading)
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:  # else who loaded it gave up
                return answer

    async def _load(self, key_id: str) -> VapidKey:
        """For all who wait meanwhile; a failure is not remembered."""
        loading = self._loading[key_id] = asyncio.get_running_loop().create_future()
        answer: VapidKey | Exception | None = None
        try:
            answer = found = await self._read(key_id)
        except Exception as error:
            answer = error
            raise
        finally:
            loading.set_result(answer)
            if self._loading.get(key_id) is loading:  # else it may have been destroyed meanwhile
                del self._loading[key_id]
                if isinstance(answer, VapidKey):
                    self._keys[key_id] = answer
        return found

    async def _read(self, key_id: str) -> VapidKey:
        found = await signing_vapid_key(self._pool, self._vault, key_id)
        if found is None:
            raise SigningKeyGoneError(key_id)
        return found
