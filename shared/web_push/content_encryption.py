"""RFC 8291: one message for one subscriber, as a single record of aes128gcm (RFC 8188).

Directly on `cryptography`, whose keys and curve are most of the cost.
"""

import hashlib
import hmac
import secrets
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.web_push.subscription_keys import CURVE, SubscriptionKeys

CONTENT_ENCODING = "aes128gcm"
BODY_OCTETS_MAX = 4096  # what every push service takes (RFC 8030 section 7.2)
_HEADER_OCTETS = 86  # salt, record size, length of the key, the key
_DELIMITER = b"\x02"  # of the last record
_TAG_OCTETS = 16
PLAINTEXT_OCTETS_MAX = BODY_OCTETS_MAX - _HEADER_OCTETS - len(_DELIMITER) - _TAG_OCTETS
_BUCKET_OCTETS = 128  # lengths that a push service can tell apart
_SALT_OCTETS = 16
# Larger than the record may get: there is never a second one.
_RECORD_SIZE = BODY_OCTETS_MAX.to_bytes(4, "big")


class PlaintextTooLongError(ValueError):
    """More than PLAINTEXT_OCTETS_MAX."""


class KeySchedule(NamedTuple):
    """RFC 8291 section 3.4, by its names."""

    prk_key: bytes
    ikm: bytes
    prk: bytes
    cek: bytes
    nonce: bytes


def encrypt(plaintext: bytes, keys: SubscriptionKeys) -> bytes:
    """The body, at most 4,096 octets; under a new key pair each time, as section 3.1 demands.

    Raises:
        PlaintextTooLongError: it does not fit.
    """
    if len(plaintext) > PLAINTEXT_OCTETS_MAX:
        raise PlaintextTooLongError(f"{len(plaintext)} octets")
    buckets = -(-len(plaintext) // _BUCKET_OCTETS)
    padded_octets = min(max(buckets, 1) * _BUCKET_OCTETS, PLAINTEXT_OCTETS_MAX)
    return seal_record(
        plaintext,
        keys,
        padding_octets=padded_octets - len(plaintext),
        sender=ec.generate_private_key(CURVE),
        salt=secrets.token_bytes(_SALT_OCTETS),
    )


def seal_record(
    plaintext: bytes,
    keys: SubscriptionKeys,
    *,
    padding_octets: int,
    sender: ec.EllipticCurvePrivateKey,
    salt: bytes,
) -> bytes:
    """What `encrypt` does once it drew `sender` and `salt`; neither may be used twice."""
    sender_point = sender.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, keys.p256dh)
    secret = sender.exchange(ec.ECDH(), receiver)
    schedule = key_schedule(secret, keys, sender_point=sender_point, salt=salt)
    sealed = AESGCM(schedule.cek).encrypt(
        schedule.nonce, plaintext + _DELIMITER + bytes(padding_octets), None
    )
    return b"".join((salt, _RECORD_SIZE, bytes((len(sender_point),)), sender_point, sealed))


def key_schedule(
    ecdh_secret: bytes, keys: SubscriptionKeys, *, sender_point: bytes, salt: bytes
) -> KeySchedule:
    prk_key = _hmac(keys.auth, ecdh_secret)
    ikm = _hmac(prk_key, b"WebPush: info\x00" + keys.p256dh + sender_point + b"\x01")
    prk = _hmac(salt, ikm)
    cek = _hmac(prk, b"Content-Encoding: aes128gcm\x00\x01")[:16]
    nonce = _hmac(prk, b"Content-Encoding: nonce\x00\x01")[:12]
    return KeySchedule(prk_key, ikm, prk, cek, nonce)


def _hmac(key: bytes, message: bytes) -> bytes:
    """HKDF (RFC 5869) of one block, extracted or expanded."""
    return hmac.digest(key, message, hashlib.sha256)
