"""JSON Web Tokens of another issuer as credentials (RFC 7519), checked by its keys (RFC 7517)."""

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias, TypeVar

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from shared.jmap.i_json import MSGSPEC_ERRORS

TOKEN_CHARACTERS_MAX = 8192
_LEEWAY = timedelta(seconds=60)  # between the clocks of two servers
_RSA_BITS_MIN = 2048
_EC_SIZES = {"ES256": ("secp256r1", 32), "ES384": ("secp384r1", 48)}
_HASHES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}

PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class JwtError(ValueError):
    """The token is not to be trusted; the message does not quote it."""


class JwtRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a token must say."""

    issuer: str
    audience: str
    user_claim: str = "sub"


class JwtClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken from a token that holds."""

    user_name: str
    scopes: frozenset[str]
    expires_at: datetime


class _Key(msgspec.Struct, frozen=True, kw_only=True):
    kty: str
    kid: str | None = None
    use: str | None = None
    crv: str | None = None
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[_Key]


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    alg: str
    kid: str | None = None
    crit: list[str] | None = None


_Seconds: TypeAlias = Annotated[
    float, msgspec.Meta(ge=0, le=2**37)
]  # to the year 6325; datetime ends at 9999


class _Claims(msgspec.Struct, frozen=True, kw_only=True):
    iss: str
    aud: str | list[str]
    exp: _Seconds
    nbf: _Seconds | None = None
    scope: str = "jmap"


T = TypeVar("T")

KeySet: TypeAlias = Mapping[str | None, PublicKey]


def looks_like_jwt(token: str) -> bool:
    """Three parts; our own tokens have none."""
    return token.count(".") == 2 and len(token) <= TOKEN_CHARACTERS_MAX  # noqa: PLR2004


def key_set(document: bytes) -> KeySet:
    """Key id -> key. Raises JwtError; keys of kinds that are not known are left out."""
    try:
        keys = msgspec.json.decode(document, type=_KeySet).keys
    except MSGSPEC_ERRORS as error:
        raise JwtError("The key set is not a JWKS document.") from error
    made = {key.kid: _public_key(key) for key in keys if key.use in (None, "sig")}
    return {kid: key for kid, key in made.items() if key is not None}


def key_id(token: str) -> str | None:
    """Raises JwtError."""
    return _decode(token.split(".", maxsplit=1)[0], _Header).kid


def verify(token: str, keys: KeySet, rules: JwtRules, now: datetime) -> JwtClaims:
    """Raises JwtError."""
    header_part, claims_part, signature_part = token.split(".")
    header = _decode(header_part, _Header)
    if header.crit:
        raise JwtError("The token demands what is not known here.")
    key = keys.get(header.kid)
    if key is None and header.kid is None and len(keys) == 1:
        key = next(iter(keys.values()))
    if key is None:
        raise JwtError("The token names no key of the issuer.")
    try:
        _check(key, header.alg, _octets(signature_part), f"{header_part}.{claims_part}".encode())
    except InvalidSignature as error:
        raise JwtError("The signature is wrong.") from error
    return _claims(claims_part, rules, now)


def _claims(part: str, rules: JwtRules, now: datetime) -> JwtClaims:
    claims = _decode(part, _Claims)
    user_name = _decode(part, dict[str, msgspec.Raw]).get(rules.user_claim)
    audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud
    if claims.iss != rules.issuer or rules.audience not in audiences:
        raise JwtError("The token is of another issuer, or for another audience.")
    expires_at = datetime.fromtimestamp(claims.exp, UTC)
    if expires_at + _LEEWAY <= now:
        raise JwtError("The token has expired.")
    if claims.nbf is not None and datetime.fromtimestamp(claims.nbf, UTC) - _LEEWAY > now:
        raise JwtError("The token is not valid yet.")
    try:
        name = msgspec.json.decode(b"" if user_name is None else user_name, type=str)
    except MSGSPEC_ERRORS as error:
        raise JwtError("The token names no user.") from error
    return JwtClaims(user_name=name, scopes=frozenset(claims.scope.split()), expires_at=expires_at)


def _check(key: PublicKey, algorithm: str, signature: bytes, signed: bytes) -> None:
    """The algorithm must be one for the key's kind: a token does not choose how it is checked."""
    family, size = algorithm[:2], algorithm[2:]
    match key:
        case rsa.RSAPublicKey() if family in ("RS", "PS") and size in _HASHES:
            digest = _HASHES[size]()
            scheme = (
                padding.PKCS1v15()
                if family == "RS"
                else padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
            )
            key.verify(signature, signed, scheme, digest)
        case ec.EllipticCurvePublicKey() if algorithm in _EC_SIZES:
            curve, octets = _EC_SIZES[algorithm]
            if key.curve.name != curve or len(signature) != 2 * octets:
                raise InvalidSignature
            r, s = (
                int.from_bytes(half, "big") for half in (signature[:octets], signature[octets:])
            )
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(_HASHES[size]()))
        case ed25519.Ed25519PublicKey() if algorithm in ("EdDSA", "Ed25519"):
            key.verify(signature, signed)
        case _:
            raise JwtError("The algorithm is not one for the key.")


def _public_key(key: _Key) -> PublicKey | None:
    try:
        match key:
            case _Key(kty="RSA", n=str(modulus), e=str(exponent)):
                numbers = rsa.RSAPublicNumbers(_integer(exponent), _integer(modulus))
                made = numbers.public_key()
                return made if made.key_size >= _RSA_BITS_MIN else None
            case _Key(kty="EC", crv="P-256" | "P-384" as name, x=str(x), y=str(y)):
                curve = ec.SECP256R1() if name == "P-256" else ec.SECP384R1()
                return ec.EllipticCurvePublicNumbers(_integer(x), _integer(y), curve).public_key()
            case _Key(kty="OKP", crv="Ed25519", x=str(x)):
                return ed25519.Ed25519PublicKey.from_public_bytes(_octets(x))
            case _:
                return None
    except ValueError as error:
        raise JwtError("A key of the issuer is malformed.") from error


def _decode(part: str, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(_octets(part), type=type_)
    except MSGSPEC_ERRORS as error:
        raise JwtError("The token is malformed.") from error


def _octets(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise JwtError("The token is malformed.") from error


def _integer(part: str) -> int:
    return int.from_bytes(_octets(part), "big")
