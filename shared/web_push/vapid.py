"""RFC 8292: a push service is told who sends, by tokens that the server's key signs."""

import base64
from datetime import datetime, timedelta

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.web_push.subscription_keys import CURVE

PRIVATE_OCTETS = 32
# RFC 8292 section 2 allows a day; half of it leaves room for clocks that differ.
TOKEN_LIFE = timedelta(hours=12)
_TOKENS_MAX = 4096
_ALGORITHM = ec.ECDSA(hashes.SHA256())


class VapidKeyError(ValueError):
    """The octets are no private key of P-256."""


class VapidKey:
    """A key pair that signs; never one that encrypts (RFC 8292 section 3.2)."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        self.application_server_key = _base64url(self.public).decode()

    @classmethod
    def generate(cls) -> "VapidKey":
        return cls(ec.generate_private_key(CURVE))

    @classmethod
    def from_private(cls, octets: bytes) -> "VapidKey":
        """What `private` gave; raises VapidKeyError."""
        if len(octets) != PRIVATE_OCTETS:
            raise VapidKeyError(f"{len(octets)} octets, not {PRIVATE_OCTETS}")
        try:
            return cls(ec.derive_private_key(int.from_bytes(octets, "big"), CURVE))
        except ValueError as error:
            raise VapidKeyError("not a private key of P-256") from error

    @property
    def private(self) -> bytes:
        """32 octets to keep secret."""
        return self._private.private_numbers().private_value.to_bytes(PRIVATE_OCTETS, "big")

    def sign(self, message: bytes) -> bytes:
        """ES256 (RFC 7518 section 3.4): R and S, 32 octets each."""
        r, s = decode_dss_signature(self._private.sign(message, _ALGORITHM))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def __repr__(self) -> str:
        return f"VapidKey({self.application_server_key})"


class _Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    aud: str
    exp: int
    sub: str | None = None


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    authorization: str
    issued_at: datetime
    renew_at: datetime


class VapidSigner:
    """Signs once per key and origin, and again at half of a token's life."""

    def __init__(self, subject: str | None = None, *, tokens_max: int = _TOKENS_MAX) -> None:
        """`subject`: a `mailto:` or `https:` URL of the operator; Apple demands one.

        Raises:
            ValueError: it is another kind of text.
        """
        if subject is not None and not subject.startswith(("mailto:", "https:")):
            raise ValueError("give the contact of VAPID tokens as a mailto: or https: URL")
        self._subject = subject
        self._tokens_max = tokens_max
        self._tokens: dict[tuple[bytes, str], _Token] = {}  # the oldest first

    def authorization(self, key: VapidKey, origin: str, now: datetime) -> str:
        """The value of the Authorization header for a request to `origin` (section 3)."""
        token = self._tokens.get((key.public, origin))
        # A clock that was set back would make the token live for too long.
        if token is None or not token.issued_at <= now < token.renew_at:
            token = self._keep((key.public, origin), self._sign(key, origin, now))
        return token.authorization

    def _sign(self, key: VapidKey, origin: str, now: datetime) -> _Token:
        expires_at = now + TOKEN_LIFE
        claims = _Claims(aud=origin, exp=int(expires_at.timestamp()), sub=self._subject)
        signed = _HEADER + b"." + _base64url(msgspec.json.encode(claims))
        token = (signed + b"." + _base64url(key.sign(signed))).decode()
        return _Token(
            authorization=f"vapid t={token}, k={key.application_server_key}",
            issued_at=now,
            renew_at=now + TOKEN_LIFE / 2,
        )

    def _keep(self, place: tuple[bytes, str], token: _Token) -> _Token:
        self._tokens.pop(place, None)
        while len(self._tokens) >= self._tokens_max:
            self._tokens.pop(next(iter(self._tokens)))
        self._tokens[place] = token
        return token


def _base64url(octets: bytes) -> bytes:
    return base64.urlsafe_b64encode(octets).rstrip(b"=")


_HEADER = _base64url(b'{"typ":"JWT","alg":"ES256"}')
