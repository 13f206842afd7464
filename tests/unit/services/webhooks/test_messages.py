"""P-13, P-17, V-02: what a webhook request says."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py_vapid import Vapid02  # type: ignore[import-untyped]

from services.webhooks.messages import (
    PushOptions,
    PushTarget,
    push_request,
    ttl_seconds,
)
from shared.web_push.content_encryption import PLAINTEXT_OCTETS_MAX, PlaintextTooLongError
from shared.web_push.endpoint import read_endpoint
from shared.web_push.subscription_keys import parse_subscription_keys
from shared.web_push.vapid import VapidKey, VapidSigner
from tests.support.webhook_sink import Subscriber

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENDPOINT = read_endpoint("https://push.example/secret")
PAYLOAD = b'{"@type":"PushVerification","pushSubscriptionId":"s","verificationCode":"c"}'
SIGNER = VapidSigner()
KEY = VapidKey.generate()
SUBSCRIBER = Subscriber()
IN_CLEAR = PushTarget(endpoint=ENDPOINT, keys=None, vapid_key=KEY)
ENCRYPTED = PushTarget(
    endpoint=ENDPOINT, keys=parse_subscription_keys(**SUBSCRIBER.keys), vapid_key=KEY
)


def test_a_message_in_clear_is_json_and_signed() -> None:
    request = push_request(PAYLOAD, IN_CLEAR, PushOptions(ttl_seconds=60), signer=SIGNER, now=NOW)

    assert request.endpoint == ENDPOINT
    assert request.body == PAYLOAD
    assert dict(request.headers) == {
        "Content-Type": "application/json",
        "TTL": "60",
        "Urgency": "normal",
        "Authorization": SIGNER.authorization(KEY, "https://push.example", NOW),
        "User-Agent": "Tidings",
    }
    assert Vapid02.verify(request.headers["Authorization"].replace(", ", ","))


def test_a_replay_says_that_it_is_one() -> None:
    options = PushOptions(ttl_seconds=0, is_replay=True)
    request = push_request(PAYLOAD, ENCRYPTED, options, signer=SIGNER, now=NOW)

    assert request.headers["Tidings-Replay"] == "1"
    assert request.headers["TTL"] == "0"
    assert "Topic" not in request.headers


def test_with_keys_everything_is_encrypted_and_signed() -> None:
    """The PushVerification too."""
    request = push_request(PAYLOAD, ENCRYPTED, PushOptions(ttl_seconds=0), signer=SIGNER, now=NOW)

    assert request.headers["Content-Encoding"] == "aes128gcm"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["TTL"] == "0"
    assert request.headers["Authorization"].startswith("vapid t=")
    assert b"verificationCode" not in request.body
    assert SUBSCRIBER.decrypt(request.body) == PAYLOAD


def test_a_topic_is_told() -> None:
    options = PushOptions(ttl_seconds=1, topic="abc_-")
    request = push_request(PAYLOAD, IN_CLEAR, options, signer=SIGNER, now=NOW)

    assert request.headers["Topic"] == "abc_-"


def test_a_message_too_long_to_encrypt_is_an_error() -> None:
    with pytest.raises(PlaintextTooLongError):
        push_request(
            b"x" * (PLAINTEXT_OCTETS_MAX + 1),
            ENCRYPTED,
            PushOptions(ttl_seconds=1),
            signer=SIGNER,
            now=NOW,
        )


def test_a_request_does_not_show_its_secrets() -> None:
    request = push_request(PAYLOAD, IN_CLEAR, PushOptions(ttl_seconds=1), signer=SIGNER, now=NOW)

    assert repr(request) == f"PushRequest(https://push.example, {len(PAYLOAD)} octets)"


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        (timedelta(0), 0),
        (timedelta(seconds=-5), 0),
        (timedelta(seconds=90, milliseconds=999), 90),
        (timedelta(days=7), 604_800),
        (timedelta(days=365), 604_800),
    ],
)
def test_a_message_is_held_as_long_as_its_subscription_lives(left: timedelta, seconds: int) -> None:
    assert ttl_seconds(NOW + left, NOW) == seconds


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_a_ttl_is_one_of_rfc_8030(ends_at: datetime, now: datetime) -> None:
    """P-17: 0 to 2^31."""
    assert 0 <= ttl_seconds(ends_at, now) < 2**31


def test_a_traceparent_is_told_to_who_reads_the_message_alone() -> None:
    """A push service could tell by it which devices of different users belong together."""
    options = PushOptions(ttl_seconds=1, traceparent="00-a-b-01")
    clear, encrypted = (
        push_request(PAYLOAD, target, options, signer=SIGNER, now=NOW)
        for target in (IN_CLEAR, ENCRYPTED)
    )
    assert clear.headers["traceparent"] == "00-a-b-01"
    assert "traceparent" not in encrypted.headers
