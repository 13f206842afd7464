"""From the Authorization header to a Credential."""

import asyncio
import base64
import binascii
from collections import OrderedDict
from weakref import WeakValueDictionary

import asyncpg
import msgspec
from starlette.responses import Response

from shared.bus.control import ControlMessage
from shared.http.issuer import Issuer
from shared.http.jwt import looks_like_jwt
from shared.http.problem_details import problem
from shared.runtime.clock import Clock
from shared.store.credentials import Credential, find_credential

CACHE_SECONDS = 2.0
"""Revocation is obeyed this soon, even when its control message was lost."""

_CACHE_ENTRIES_MAX = 10_000
_HEADER_CHARACTERS_MAX = 8192
_REALM = 'realm="tidings"'


class AuthenticationError(Exception):
    """No credential: `response` is the 401 to answer with."""

    def __init__(self, detail: str, *, is_invalid: bool) -> None:
        super().__init__(detail)
        self.detail = detail
        self.is_invalid = is_invalid

    def response(self) -> Response:
        error = ', error="invalid_token"' if self.is_invalid else ""
        return problem(401, self.detail, {"WWW-Authenticate": f"Bearer {_REALM}{error}"})


class ScopeMissingError(Exception):
    """The credential is good, but not for this."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"The token lacks the scope {scope!r}.")
        self.scope = scope

    def response(self) -> Response:
        challenge = f'Bearer {_REALM}, error="insufficient_scope", scope="{self.scope}"'
        return problem(403, str(self), {"WWW-Authenticate": challenge})


class _Entry(msgspec.Struct, frozen=True):
    until: float  # monotonic seconds
    credential: Credential | None


class Authenticator:
    """Looks tokens up, and remembers the answer for `CACHE_SECONDS`."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        clock: Clock,
        issuer: Issuer | None = None,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._issuer = issuer
        self._cache: OrderedDict[str, _Entry] = OrderedDict()
        self._looking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._generation = 0

    async def authenticate(self, header: str | None, *, scope: str = "jmap") -> Credential:
        """`header` is the Authorization header. Raises AuthenticationError, ScopeMissingError."""
        credential = await self._credential(token_of(header))
        if credential is None:
            raise AuthenticationError("The token is unknown, expired or revoked.", is_invalid=True)
        if scope not in credential.scopes:
            raise ScopeMissingError(scope)
        return credential

    def receive_control(self, message: ControlMessage) -> None:
        """For `listen_control`."""
        if message.revoked is None:
            return
        self._generation += 1  # a lookup under way may have read the token before
        for token, entry in list(self._cache.items()):
            if entry.credential is not None and entry.credential.id == message.revoked:
                del self._cache[token]

    async def _credential(self, token: str) -> Credential | None:
        entry = self._remembered(token)
        if entry is None:
            looking = self._looking.setdefault(token, asyncio.Lock())
            async with looking:  # a busy client asks many times at once, when its entry ends
                entry = self._remembered(token) or await self._look_up(token)
        return entry.credential

    def _remembered(self, token: str) -> _Entry | None:
        entry = self._cache.get(token)
        return entry if entry is not None and entry.until > self._clock.monotonic() else None

    async def _look_up(self, token: str) -> _Entry:
        now = self._clock.monotonic()
        generation = self._generation
        if self._issuer is not None and looks_like_jwt(token):
            credential = await self._issuer.find(self._pool, token)
        else:
            credential = await find_credential(self._pool, token)
        entry = _Entry(now + CACHE_SECONDS, credential)
        if generation == self._generation:
            self._remember(token, entry)
        return entry

    def _remember(self, token: str, entry: _Entry) -> None:
        self._cache.pop(token, None)
        self._cache[token] = entry
        while len(self._cache) > _CACHE_ENTRIES_MAX:
            self._cache.popitem(last=False)


def token_of(header: str | None) -> str:
    """The token of a Bearer header, or of Basic as its password. Raises AuthenticationError."""
    if not header:
        raise AuthenticationError("Give a token: Authorization: Bearer …", is_invalid=False)
    scheme, _, rest = header.partition(" ")
    rest = rest.strip()
    if len(header) > _HEADER_CHARACTERS_MAX or not rest:
        raise AuthenticationError("Malformed Authorization header.", is_invalid=False)
    match scheme.lower():
        case "bearer":
            return rest
        case "basic":
            return _password(rest)
        case _:
            raise AuthenticationError("Authenticate with Bearer, or Basic.", is_invalid=False)


def _password(encoded: str) -> str:
    try:
        decoded = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise AuthenticationError("Malformed Basic credentials.", is_invalid=False) from error
    _, colon, password = decoded.partition(":")
    if not colon:
        raise AuthenticationError("Malformed Basic credentials.", is_invalid=False)
    return password
