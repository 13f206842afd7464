"""RFC 9749: the capability that tells the active VAPID key, and follows it as it is rotated."""

import asyncio
import base64
import contextlib
import logging

import asyncpg

from services.dispatcher.capabilities import Capabilities
from shared.jmap.session import Capability
from shared.runtime.errors import CouldNotStartError
from shared.store.pool import POSTGRES_ERRORS
from shared.store.vapid_keys import (
    StoredVapidKey,
    active_vapid_key,
    ensure_vapid_key,
    signing_vapid_key,
)
from shared.web_push.sealing import UnsealError, Vault
from shared.web_push.vapid import VapidKey

VAPID = "urn:ietf:params:jmap:webpush-vapid"
LOOK_SECONDS = 1.5
"""A rotation is seen this soon, even when its control message was lost."""

_log = logging.getLogger(__name__)


class ApplicationServerKey:
    """`prepare` it before the first session is told, and `follow` it while sessions are."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault, capabilities: Capabilities) -> None:
        self._pool = pool
        self._vault = vault
        self._capabilities = capabilities
        self._told: str | None = None  # id of the key that the capability tells
        self._wanted = asyncio.Event()

    async def prepare(self) -> None:
        """Make the first key where there is none. Raises CouldNotStartError."""
        key = await ensure_vapid_key(self._pool, self._vault, VapidKey.generate())
        try:
            await signing_vapid_key(self._pool, self._vault, key.id)
        except UnsealError as error:
            raise CouldNotStartError(
                "TIDINGS_SECRET_KEY is not the one that the secrets in this database were sealed "
                "with: set that one. If it is lost, `tidings vapid rotate --grace 0s` with the new "
                "one ends all push subscriptions and starts anew."
            ) from error
        self._tell(key)

    async def follow(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), LOOK_SECONDS)
            self._wanted.clear()
            await self._look()

    def look_soon(self) -> None:
        """It may have been rotated."""
        self._wanted.set()

    async def met(self, key_id: str) -> None:
        """A subscription was made under this key: the session must not tell another one."""
        if key_id != self._told:
            await self._look()

    async def _look(self) -> None:
        try:
            key = await active_vapid_key(self._pool)
        except POSTGRES_ERRORS as error:
            _log.warning("vapid_key_not_read", extra={"error": repr(error)})
            return
        if key is not None and key.id != self._told:
            self._tell(key)

    def _tell(self, key: StoredVapidKey) -> None:
        self._told = key.id
        encoded = base64.urlsafe_b64encode(key.public_key).decode().rstrip("=")
        self._capabilities.put(Capability(urn=VAPID, session={"applicationServerKey": encoded}))
