"""The keys of a push subscription, as a browser gives them (RFC 8291 section 3.1)."""

import base64
import binascii
import re

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

CURVE = ec.SECP256R1()
AUTH_OCTETS = 16
_POINT_OCTETS = 65
_UNCOMPRESSED = 0x04
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*={0,2}")


class SubscriptionKeyError(ValueError):
    """The keys cannot be used; the text says why and does not quote them."""


class SubscriptionKeys(msgspec.Struct, frozen=True, kw_only=True):
    p256dh: bytes  # 65 octets: an uncompressed point of P-256
    auth: bytes  # 16 octets, secret

    def __repr__(self) -> str:
        return "SubscriptionKeys(***)"


def parse_subscription_keys(p256dh: str, auth: str) -> SubscriptionKeys:
    """From base64url, with padding or without; raises SubscriptionKeyError."""
    point = _octets(p256dh, "p256dh")
    if len(point) != _POINT_OCTETS or point[0] != _UNCOMPRESSED:
        raise SubscriptionKeyError("p256dh is not an uncompressed point: 65 octets from 0x04.")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(CURVE, point)
    except ValueError as error:
        raise SubscriptionKeyError("p256dh is not a point of the curve P-256.") from error
    secret = _octets(auth, "auth")
    if len(secret) != AUTH_OCTETS:
        raise SubscriptionKeyError(f"auth has {len(secret)} octets, not {AUTH_OCTETS}.")
    return SubscriptionKeys(p256dh=point, auth=secret)


def _octets(text: str, name: str) -> bytes:
    if _BASE64URL.fullmatch(text) is None:
        raise SubscriptionKeyError(f"{name} is not base64url.")
    bare = text.rstrip("=")
    try:
        return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error as error:
        raise SubscriptionKeyError(f"{name} is not base64url.") from error
