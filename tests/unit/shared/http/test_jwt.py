"""Which JWT is trusted, and which is not."""

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from shared.http.jwt import JwtError, JwtRules, key_id, key_set, looks_like_jwt, verify
from tests.support.jwt import PrivateKey, b64, make_jwt, public_jwk

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = JwtRules(issuer="https://id.example", audience="tidings", user_claim="email")
CLAIMS: dict[str, Any] = {
    "iss": "https://id.example",
    "aud": ["other", "tidings"],
    "exp": NOW.timestamp() + 300,
    "email": "ada",
}
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
KEYS = key_set(
    json.dumps(
        {
            "keys": [
                public_jwk(RSA, "rsa"),
                public_jwk(EC, "ec"),
                public_jwk(ED, "ed"),
                {"kty": "oct", "kid": "secret", "k": "AAAA"},
                {**public_jwk(EC, "encryption"), "use": "enc"},
            ]
        }
    ).encode()
)


def token(
    key: PrivateKey = EC, *, alg: str = "ES256", kid: str | None = "ec", **claims: Any
) -> str:
    header = {"alg": alg} if kid is None else {"alg": alg, "kid": kid}
    return make_jwt(key, {**CLAIMS, **claims}, **header)


NOT_UTF8 = b'{"alg":"\xff"}'
DEEP = b'{"alg":"ES256","x":' + b"[" * 6000


@pytest.mark.parametrize(
    ("key", "alg", "kid"),
    [(RSA, "RS256", "rsa"), (RSA, "PS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")],
)
def test_a_token_that_holds_names_its_user(key: PrivateKey, alg: str, kid: str) -> None:
    made = token(key, alg=alg, kid=kid, scope="jmap append")
    assert looks_like_jwt(made)
    assert key_id(made) == kid
    claims = verify(made, KEYS, RULES, NOW)
    assert (claims.user_name, claims.scopes) == ("ada", frozenset({"jmap", "append"}))


@pytest.mark.parametrize(
    "made",
    [
        token(iss="https://evil.example"),
        token(aud="other"),
        token(exp=NOW.timestamp() - 61),
        token(nbf=NOW.timestamp() + 61),
        token(exp="tomorrow"),
        token(email=None),
        token(email=7),
        token(kid="nope"),
        token(kid="secret"),
        token(kid="encryption"),
        token(kid=None),
        token(RSA, alg="RS256", kid="ec"),
        token(EC, alg="RS256", kid="ec"),
        token(ED, alg="ES256", kid="ed"),
        token(ec.generate_private_key(ec.SECP256R1())),
        make_jwt(EC, CLAIMS, alg="ES256", kid="ec", crit=["exp"]),
        make_jwt(EC, {}, alg="ES256", kid="ec"),
        token(exp=2**40),
        f"{b64(NOT_UTF8)}.{b64(b'{}')}.",
        f"{b64(DEEP)}.{b64(b'{}')}.",
        "a.b.c",
        "..",
        token()[:-4],
    ],
)
def test_a_token_that_does_not_hold_is_refused(made: str) -> None:
    with pytest.raises(JwtError):
        verify(made, KEYS, RULES, NOW)


def test_a_token_cannot_choose_to_be_unsigned_or_signed_by_a_public_key() -> None:
    body = b64(json.dumps(CLAIMS).encode())
    for algorithm in ("none", "HS256"):
        head = b64(json.dumps({"alg": algorithm, "kid": "rsa"}).encode())
        public = json.dumps(public_jwk(RSA, "rsa")).encode()
        mac = hmac.new(public, f"{head}.{body}".encode(), hashlib.sha256).digest()
        for signature in (b"", mac):
            with pytest.raises(JwtError):
                verify(f"{head}.{body}.{b64(signature)}", KEYS, RULES, NOW)


@pytest.mark.parametrize(
    "document", [b"", b"[]", b'{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}', b'{"keys":[{}]}']
)
def test_a_key_set_that_is_none_is_refused(document: bytes) -> None:
    with pytest.raises(JwtError):
        key_set(document)


def test_weak_keys_are_left_out() -> None:
    weak = public_jwk(rsa.generate_private_key(65537, 1024), "weak")
    assert key_set(json.dumps({"keys": [weak]}).encode()) == {}


def test_the_only_key_needs_no_name() -> None:
    keys = key_set(json.dumps({"keys": [public_jwk(ED, "ed")]}).encode())
    assert verify(token(ED, alg="EdDSA", kid=None), keys, RULES, NOW).user_name == "ada"


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=50).map(lambda text: f"{text}.a.b"))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    if looks_like_jwt(text):
        with pytest.raises(JwtError):
            verify(text, KEYS, RULES, NOW)


@pytest.mark.parametrize("header", [NOT_UTF8, DEEP])
def test_a_header_that_cannot_be_read_names_no_key(header: bytes) -> None:
    with pytest.raises(JwtError):
        key_id(f"{b64(header)}.{b64(b'{}')}.")


@pytest.mark.parametrize("document", [NOT_UTF8, DEEP])
def test_a_key_set_that_cannot_be_read_is_refused(document: bytes) -> None:
    with pytest.raises(JwtError):
        key_set(document)
