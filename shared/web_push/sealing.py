"""Secrets at rest: AES-256-GCM, each subscription under a key of its own.

TIDINGS_SECRET_KEY wraps those keys; without its own small key, what a subscription sealed cannot be
read again, wherever a copy of it is left (RFC 8620 section 7.2: erase URL and keys).
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_CHARACTERS = 22
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")


class UnsealError(Exception):
    """Sealed under another key, for another purpose, or damaged."""


class SealingKey:
    """`purpose` is bound to what is sealed: it cannot be opened as something else."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, plain: bytes, *, purpose: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plain, purpose.encode())

    def unseal(self, sealed: bytes, *, purpose: str) -> bytes:
        """Raises UnsealError."""
        try:
            return self._aead.decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise UnsealError(purpose) from error


class Vault:
    """What TIDINGS_SECRET_KEY opens."""

    def __init__(self, secret_key: str) -> None:
        """`secret_key`: 32 octets or more in base64, base64url or hex. Raises ValueError."""
        secret = _octets(secret_key)
        self._wrapping = SealingKey(_derived(secret, "wrap"))
        self._sealing = SealingKey(_derived(secret, "seal"))
        self._hashing = _derived(secret, "hash")

    def new_key(self, purpose: str) -> tuple[SealingKey, bytes]:
        """A key and the wrapped form to keep."""
        key = secrets.token_bytes(_KEY_BYTES)
        return SealingKey(key), self._wrapping.seal(key, purpose=purpose)

    def unwrap(self, wrapped: bytes, purpose: str) -> SealingKey:
        """Raises UnsealError."""
        return SealingKey(self._wrapping.unseal(wrapped, purpose=purpose))

    def seal(self, plain: bytes, *, purpose: str) -> bytes:
        """What is the server's own, not a subscription's."""
        return self._sealing.seal(plain, purpose=purpose)

    def unseal(self, sealed: bytes, *, purpose: str) -> bytes:
        """Raises UnsealError."""
        return self._sealing.unseal(sealed, purpose=purpose)

    def keyed_hash(self, text: str) -> str:
        """22 characters that stand for `text` and cannot be guessed back without the secret."""
        digest = hmac.digest(self._hashing, text.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode()[:_TAG_CHARACTERS]


def _octets(text: str) -> bytes:
    text = text.strip()
    try:
        secret = bytes.fromhex(text) if _HEX.fullmatch(text) else _base64(text)
    except (ValueError, binascii.Error):
        secret = b""
    if len(secret) < _KEY_BYTES:
        raise ValueError("give at least 32 octets, in base64 or hex")
    return secret


def _base64(text: str) -> bytes:
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)


def _derived(secret: bytes, use: str) -> bytes:
    return hmac.digest(secret, f"tidings {use}".encode(), hashlib.sha256)
