"""P-13: what is sent to a subscription with keys (RFC 8291)."""

import base64
import secrets

import http_ece  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shared.web_push.content_encryption import (
    BODY_OCTETS_MAX,
    PLAINTEXT_OCTETS_MAX,
    PlaintextTooLongError,
    encrypt,
    key_schedule,
    seal_record,
)
from shared.web_push.subscription_keys import parse_subscription_keys
from tests.support.webhook_sink import Subscriber

# RFC 8291, appendix A.
PLAINTEXT = b"When I grow up, I want to be a watermelon"
SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SENDER_POINT = (
    "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
)
RECEIVER = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
RECEIVER_POINT = (
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
)
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
ECDH_SECRET = "kyrL1jIIOHEzg3sM2ZWRHDRB62YACZhhSlknJ672kSs"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS"
    "6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qu"
    "lcy4a-fN"
)
SUBSCRIBER = Subscriber()


def octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def private(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(octets(text), "big"), ec.SECP256R1())


def test_the_example_of_rfc_8291_is_made_to_the_octet() -> None:
    body = seal_record(
        PLAINTEXT,
        parse_subscription_keys(RECEIVER_POINT, AUTH),
        padding_octets=0,
        sender=private(SENDER),
        salt=octets(SALT),
    )

    assert body == octets(BODY)


def test_the_intermediate_values_are_those_of_appendix_a() -> None:
    receiver = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), octets(RECEIVER_POINT))
    secret = private(SENDER).exchange(ec.ECDH(), receiver)
    schedule = key_schedule(
        secret,
        parse_subscription_keys(RECEIVER_POINT, AUTH),
        sender_point=octets(SENDER_POINT),
        salt=octets(SALT),
    )

    assert secret == octets(ECDH_SECRET)
    assert schedule.prk_key == octets("Snr3JMxaHVDXHWJn5wdC52WjpCtd2EIEGBykDcZW32k")
    assert schedule.ikm == octets("S4lYMb_L0FxCeq0WhDx813KgSYqU26kOyzWUdsXYyrg")
    assert schedule.prk == octets("09_eUZGrsvxChDCGRCdkLiDXrReGOEVeSCdCcPBSJSc")
    assert schedule.cek == octets("oIhVW04MRdy2XN9CiKLxTg")
    assert schedule.nonce == octets("4h_95klXJ5E_qnoN")


def test_the_library_of_others_reads_the_example() -> None:
    read = http_ece.decrypt(
        octets(BODY), private_key=private(RECEIVER), auth_secret=octets(AUTH), version="aes128gcm"
    )

    assert read == PLAINTEXT


@given(st.binary(max_size=PLAINTEXT_OCTETS_MAX))
def test_what_is_encrypted_is_read_by_the_library_of_others(plaintext: bytes) -> None:
    body = encrypt(plaintext, parse_subscription_keys(**SUBSCRIBER.keys))

    assert SUBSCRIBER.decrypt(body) == plaintext
    assert len(body) <= BODY_OCTETS_MAX


@given(st.binary(min_size=1, max_size=600), st.binary(min_size=16, max_size=16))
def test_both_libraries_make_the_same_body(plaintext: bytes, salt: bytes) -> None:
    """http-ece pads nothing, and makes no record of nothing."""
    sender = ec.generate_private_key(ec.SECP256R1())
    keys = parse_subscription_keys(**SUBSCRIBER.keys)

    ours = seal_record(plaintext, keys, padding_octets=0, sender=sender, salt=salt)
    theirs = http_ece.encrypt(
        plaintext,
        salt=salt,
        private_key=sender,
        dh=keys.p256dh,
        auth_secret=keys.auth,
        rs=4096,
        version="aes128gcm",
    )

    assert ours == theirs


@pytest.mark.parametrize(
    ("plain", "padded"),
    [(0, 128), (1, 128), (128, 128), (129, 256), (2000, 2048), (3968, 3968), (3969, 3993)],
)
def test_lengths_are_hidden_in_buckets(plain: int, padded: int) -> None:
    """P-42: a push service sees one of few lengths, at most 4,096 octets."""
    body = encrypt(bytes(plain), parse_subscription_keys(**SUBSCRIBER.keys))

    assert len(body) == 86 + padded + 1 + 16


def test_the_longest_message_fills_a_body() -> None:
    assert PLAINTEXT_OCTETS_MAX == 3993
    keys = parse_subscription_keys(**SUBSCRIBER.keys)

    body = encrypt(b"x" * 3993, keys)

    assert len(body) == 4096
    assert SUBSCRIBER.decrypt(body) == b"x" * 3993
    with pytest.raises(PlaintextTooLongError, match="3994"):
        encrypt(b"x" * 3994, keys)


def test_each_message_has_a_key_pair_and_a_salt_of_its_own() -> None:
    keys = parse_subscription_keys(**SUBSCRIBER.keys)
    bodies = [encrypt(b"the same", keys) for _ in range(20)]

    assert len({body[:16] for body in bodies}) == 20
    assert len({body[21:86] for body in bodies}) == 20
    assert {body[16:21] for body in bodies} == {b"\x00\x00\x10\x00\x41"}


def test_another_subscriber_cannot_read_it() -> None:
    body = encrypt(b"secret", parse_subscription_keys(**SUBSCRIBER.keys))

    for damaged in (body[:-1] + bytes([body[-1] ^ 1]), secrets.token_bytes(16) + body[16:]):
        with pytest.raises(http_ece.ECEException, match="InvalidTag"):
            SUBSCRIBER.decrypt(damaged)
    with pytest.raises(http_ece.ECEException, match="InvalidTag"):
        Subscriber().decrypt(body)
