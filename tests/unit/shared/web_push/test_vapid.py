"""V-02: tokens that say who sends (RFC 8292)."""

import base64
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from py_vapid import Vapid02  # type: ignore[import-untyped]

from shared.web_push.vapid import VapidKey, VapidKeyError, VapidSigner

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ORIGIN = "https://push.example"
KEY = VapidKey.generate()


def parts(authorization: str) -> tuple[str, str]:
    scheme, _, parameters = authorization.partition(" ")
    assert scheme == "vapid"
    named = dict(item.split("=", 1) for item in parameters.split(", "))
    assert set(named) == {"t", "k"}
    return named["t"], named["k"]


def decoded(part: str) -> bytes:
    assert "=" not in part
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims(authorization: str) -> dict[str, Any]:
    header, body, signature = parts(authorization)[0].split(".")
    assert json.loads(decoded(header)) == {"typ": "JWT", "alg": "ES256"}
    assert len(decoded(signature)) == 64
    read: dict[str, Any] = json.loads(decoded(body))
    return read


def is_signed(authorization: str) -> bool:
    """By the verifier of others, which takes no space between the parameters."""
    verified: bool = Vapid02.verify(authorization.replace(", ", ","))
    return verified


def test_a_token_tells_the_origin_the_end_and_the_contact() -> None:
    signer = VapidSigner("mailto:push@example.com")

    authorization = signer.authorization(KEY, ORIGIN, NOW)

    assert is_signed(authorization)
    assert claims(authorization) == {
        "aud": "https://push.example",
        "exp": int((NOW + timedelta(hours=12)).timestamp()),
        "sub": "mailto:push@example.com",
    }
    assert parts(authorization)[1] == KEY.application_server_key


def test_the_contact_is_left_out_where_none_is_given() -> None:
    assert set(claims(VapidSigner().authorization(KEY, ORIGIN, NOW))) == {"aud", "exp"}


@pytest.mark.parametrize("subject", ["push@example.com", "http://example.com", ""])
def test_a_contact_is_a_url(subject: str) -> None:
    with pytest.raises(ValueError, match="mailto"):
        VapidSigner(subject)


def test_a_changed_token_does_not_verify() -> None:
    authorization = VapidSigner().authorization(KEY, ORIGIN, NOW)
    other = VapidSigner().authorization(KEY, "https://other.example", NOW)
    header, _, signature = parts(authorization)[0].split(".")
    mixed = f"{header}.{parts(other)[0].split('.')[1]}.{signature}"

    assert not is_signed(f"vapid t={mixed}, k={KEY.application_server_key}")
    assert not is_signed(
        f"vapid t={parts(authorization)[0]}, k={VapidKey.generate().application_server_key}"
    )


def test_the_verifier_takes_the_example_of_rfc_8292() -> None:
    assert is_signed(
        "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQi"
        "LCJleHAiOjE0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOe"
        "pC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA, "
        "k=BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"
    )


def test_a_token_is_used_until_half_of_its_life() -> None:
    signer = VapidSigner()
    first = signer.authorization(KEY, ORIGIN, NOW)

    assert signer.authorization(KEY, ORIGIN, NOW + timedelta(hours=5, minutes=59)) == first
    renewed = signer.authorization(KEY, ORIGIN, NOW + timedelta(hours=6))
    assert claims(renewed)["exp"] == claims(first)["exp"] + 6 * 3600


def test_a_clock_that_is_set_back_makes_no_token_live_longer() -> None:
    signer = VapidSigner()
    signer.authorization(KEY, ORIGIN, NOW)

    earlier = signer.authorization(KEY, ORIGIN, NOW - timedelta(days=1))

    assert claims(earlier)["exp"] == int((NOW - timedelta(hours=12)).timestamp())


def test_each_key_and_each_origin_has_a_token() -> None:
    """V-02: a rotated key goes on signing for the subscriptions that were made under it."""
    signer, old = VapidSigner(), VapidKey.generate()
    tokens = {
        signer.authorization(key, origin, NOW)
        for key in (KEY, old)
        for origin in (ORIGIN, "https://push.example:8443")
    }

    assert len(tokens) == 4
    assert all(is_signed(token) for token in tokens)


def test_the_oldest_token_makes_room() -> None:
    signer = VapidSigner(tokens_max=2)
    first, second = (signer.authorization(KEY, f"https://{n}.example", NOW) for n in "ab")
    later = NOW + timedelta(hours=1)
    signer.authorization(KEY, "https://c.example", NOW)

    assert signer.authorization(KEY, "https://b.example", later) == second
    assert signer.authorization(KEY, "https://a.example", later) != first


@given(st.integers(1, 2**255))
def test_a_key_comes_back_from_its_32_octets(number: int) -> None:
    octets = number.to_bytes(32, "big")
    key = VapidKey.from_private(octets)

    assert key.private == octets
    assert len(key.public) == 65
    assert decoded(key.application_server_key) == key.public
    assert VapidKey.from_private(key.private).public == key.public


@given(st.binary(max_size=100))
def test_a_signature_is_64_octets_whatever_its_numbers(message: bytes) -> None:
    assert len(KEY.sign(message)) == 64


@pytest.mark.parametrize(
    "octets", [b"", secrets.token_bytes(31), secrets.token_bytes(33), bytes(32), b"\xff" * 32]
)
def test_other_octets_are_no_key(octets: bytes) -> None:
    with pytest.raises(VapidKeyError):
        VapidKey.from_private(octets)


def test_a_key_shows_its_public_half_only() -> None:
    assert repr(KEY) == f"VapidKey({KEY.application_server_key})"


def test_generated_keys_differ_and_are_of_p_256() -> None:
    keys = [VapidKey.generate() for _ in range(5)]

    assert len({key.public for key in keys}) == 5
    for key in keys:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.public)
