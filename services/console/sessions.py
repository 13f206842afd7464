"""A login as a cookie: the token, sealed under TIDINGS_SECRET_KEY (docs/adr/0019).

Nothing is kept on the server, so that every process of the console accepts it; the token itself is
looked up at each request, so that its revocation ends all logins made with it.
"""

import base64
import binascii
from datetime import UTC, datetime, timedelta

import msgspec
from starlette.responses import Response

from shared.store.credentials import Credential
from shared.web_push.sealing import UnsealError, Vault

COOKIE = "tidings_console"
PATH = "/console/"
TOKEN_CHARACTERS_MAX = 2800  # so that the cookie stays below 4096, of which browsers keep no more
_PURPOSE = "console session"


class Session(msgspec.Struct, frozen=True):
    token: str
    ends_at: int  # Unix seconds

    def is_over(self, now: datetime) -> bool:
        return self.ends_at <= now.timestamp()

    @property
    def end(self) -> datetime:
        return datetime.fromtimestamp(self.ends_at, UTC)


_decoder = msgspec.json.Decoder(Session)


class Sessions:
    """Seals and opens cookies."""

    def __init__(self, vault: Vault, *, seconds: int) -> None:
        self._vault = vault
        self._span = timedelta(seconds=seconds)

    def begin(self, token: str, credential: Credential, now: datetime) -> Session:
        end = now + self._span
        if credential.expires_at is not None:
            end = min(end, credential.expires_at)
        return Session(token, int(end.timestamp()))

    def cookie(self, session: Session) -> str:
        sealed = self._vault.seal(msgspec.json.encode(session), purpose=_PURPOSE)
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, cookie: str, now: datetime) -> Session | None:
        """None for whatever this deployment did not seal, and for what is over."""
        try:
            sealed = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
            session = _decoder.decode(self._vault.unseal(sealed, purpose=_PURPOSE))
        except (UnsealError, ValueError, binascii.Error, msgspec.MsgspecError):
            return None
        return None if session.is_over(now) else session


def set_cookie(response: Response, value: str, seconds: int, *, is_secure: bool) -> None:
    """`seconds` 0 takes it away."""
    response.set_cookie(
        COOKIE,
        value,
        max_age=seconds,
        path=PATH,
        secure=is_secure,
        httponly=True,
        samesite="strict",
    )
