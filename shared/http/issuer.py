"""Credentials from JWTs: the issuer's keys, from a file or a URL, and the user they name."""

import asyncio
import hashlib
import logging
from pathlib import Path

import aiohttp
import asyncpg
import msgspec

from shared.http.jwt import JwtError, JwtRules, KeySet, key_id, key_set, verify
from shared.runtime.clock import Clock
from shared.runtime.settings import SettingsError
from shared.store.credentials import Credential
from shared.store.people import find_user

_KEYS_SECONDS = 3600.0  # kept; a key id that is not among them is looked for earlier
_RELOAD_SECONDS = 30.0  # at least, between two looks
_FETCH_SECONDS = 10
_DOCUMENT_BYTES_MAX = 1_000_000

_log = logging.getLogger(__name__)


class JwtSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_JWT_*: tokens of an issuer; without JWKS no JWT is accepted."""

    jwks: str | None = None  # path of a file, or an https URL, with its keys
    issuer: str = ""  # what `iss` must be
    audience: str = ""  # what `aud` must name
    user_claim: str = "sub"  # the claim that names the user


JWT_PREFIX = "TIDINGS_JWT_"


def issuer_of(settings: JwtSettings, clock: Clock) -> "Issuer | None":
    """None where no JWT is accepted. Raises SettingsError for half a configuration."""
    if settings.jwks is None:
        return None
    if not settings.issuer or not settings.audience:
        raise SettingsError(f"{JWT_PREFIX}ISSUER and {JWT_PREFIX}AUDIENCE must be set with JWKS.")
    return Issuer(settings, clock)


class Issuer:
    """Knows one issuer's keys."""

    def __init__(self, settings: JwtSettings, clock: Clock) -> None:
        assert settings.jwks is not None  # noqa: S101 - the caller checked
        self._source = settings.jwks
        self._rules = JwtRules(
            issuer=settings.issuer, audience=settings.audience, user_claim=settings.user_claim
        )
        self._clock = clock
        self._keys: KeySet = {}
        self._loaded_at: float | None = None  # monotonic
        self._loading = asyncio.Lock()

    async def find(self, pool: asyncpg.Pool, token: str) -> Credential | None:
        """None: the token does not hold, or names no user of ours."""
        try:
            await self._load_keys(key_id(token))
            claims = verify(token, self._keys, self._rules, self._clock.now())
        except JwtError as error:
            _log.info("jwt_refused", extra={"reason": str(error)})
            return None
        user_id = await find_user(pool, claims.user_name)
        if user_id is None:
            return None
        digest = hashlib.sha256(token.encode()).hexdigest()
        return Credential(
            id=f"j{digest[:32]}",
            user_id=user_id,
            user_name=claims.user_name,
            scopes=claims.scopes,
            expires_at=claims.expires_at,
            is_kept=False,
        )

    async def _load_keys(self, wanted: str | None) -> None:
        """Raises JwtError when there never were keys."""
        async with self._loading:
            now = self._clock.monotonic()
            age = None if self._loaded_at is None else now - self._loaded_at
            is_known = wanted in self._keys or (wanted is None and bool(self._keys))
            if age is not None and age < (_KEYS_SECONDS if is_known else _RELOAD_SECONDS):
                return
            self._loaded_at = now
            try:
                self._keys = key_set(await self._document())
            except (OSError, aiohttp.ClientError, TimeoutError, JwtError) as error:
                _log.warning("jwks_not_loaded", extra={"error": repr(error)})

    async def _document(self) -> bytes:
        if not self._source.startswith("https://"):
            return await asyncio.to_thread(Path(self._source).read_bytes)
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._source, allow_redirects=False) as response,
        ):
            response.raise_for_status()
            return await response.content.read(_DOCUMENT_BYTES_MAX)
