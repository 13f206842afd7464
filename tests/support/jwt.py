"""JWTs and key sets, made by the tests' own means."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def number(value: int, octets: int | None = None) -> str:
    return b64(value.to_bytes(octets or (value.bit_length() + 7) // 8, "big"))


def public_jwk(key: PrivateKey, kid: str) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "kid": kid, "n": number(numbers.n), "e": number(numbers.e)}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        x = b64(key.public_key().public_bytes_raw())
        return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x}
    point = key.public_key().public_numbers()
    x, y = number(point.x, 32), number(point.y, 32)
    return {"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "x": x, "y": y}


def make_jwt(key: PrivateKey, claims: dict[str, Any], **header: Any) -> str:
    """`alg` must fit the key: RS256, PS256, ES256, EdDSA."""
    signed = ".".join(b64(json.dumps(part).encode()) for part in ({"typ": "JWT", **header}, claims))
    return f"{signed}.{b64(_sign(key, signed.encode(), header['alg']))}"


def _sign(key: PrivateKey, signed: bytes, algorithm: str) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(signed)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    if algorithm.startswith("PS"):
        salt = padding.PSS.DIGEST_LENGTH
        return key.sign(signed, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
