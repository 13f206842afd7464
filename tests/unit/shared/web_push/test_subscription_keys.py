"""P-13: the keys of a subscription (RFC 8291 section 3.1)."""

import base64
import contextlib
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.web_push.subscription_keys import SubscriptionKeyError, parse_subscription_keys

P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"


def encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode()


@pytest.mark.parametrize("padding", ["", "="])
def test_keys_are_read_with_padding_and_without(padding: str) -> None:
    keys = parse_subscription_keys(P256DH + padding, AUTH + 2 * padding)

    assert encoded(keys.p256dh) == P256DH + "="
    assert encoded(keys.auth) == AUTH + "=="


def test_keys_are_not_shown() -> None:
    assert repr(parse_subscription_keys(P256DH, AUTH)) == "SubscriptionKeys(***)"


POINT = base64.urlsafe_b64decode(P256DH + "=")


@pytest.mark.parametrize(
    ("p256dh", "reason"),
    [
        ("", "65 octets"),
        (encoded(POINT[:-1]), "65 octets"),
        (encoded(POINT + b"\x00"), "65 octets"),
        (encoded(b"\x02" + POINT[1:33]), "65 octets"),
        (encoded(b"\x06" + POINT[1:]), "65 octets"),
        (encoded(POINT[:-1] + b"\x00"), "the curve"),
        (encoded(b"\x04" + bytes(64)), "the curve"),
        (encoded(b"\x04" + b"\xff" * 64), "the curve"),
        (P256DH + " ", "base64url"),
        (P256DH + "==="[:3], "base64url"),
        (P256DH + "AA", "base64url"),
        ("=" + P256DH, "base64url"),
        (P256DH.replace("_", "/"), "base64url"),
        ("ü" + P256DH, "base64url"),
    ],
)
def test_what_is_no_point_of_the_curve_is_refused(p256dh: str, reason: str) -> None:
    with pytest.raises(SubscriptionKeyError, match=f"^p256dh .*{reason}"):
        parse_subscription_keys(p256dh, AUTH)


@pytest.mark.parametrize("octets", [0, 15, 17, 32])
def test_an_auth_secret_of_another_length_is_refused(octets: int) -> None:
    with pytest.raises(SubscriptionKeyError, match=f"^auth has {octets} octets, not 16"):
        parse_subscription_keys(P256DH, encoded(secrets.token_bytes(octets)))


@given(st.text(), st.text())
def test_any_text_is_a_key_or_an_error(p256dh: str, auth: str) -> None:
    with contextlib.suppress(SubscriptionKeyError):
        parse_subscription_keys(p256dh, AUTH)
    with contextlib.suppress(SubscriptionKeyError):
        assert len(parse_subscription_keys(P256DH, auth).auth) == 16
