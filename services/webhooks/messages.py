"""What one webhook request says (RFC 8620 section 7.2, RFC 8030 section 5)."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from shared.web_push.content_encryption import CONTENT_ENCODING, encrypt
from shared.web_push.endpoint import Endpoint
from shared.web_push.subscription_keys import SubscriptionKeys
from shared.web_push.vapid import VapidKey, VapidSigner

# A week: no push service promises to hold a message for longer; below the 2^31 of RFC 8030.
_TTL_MAX = timedelta(days=7)
_JSON = "application/json"
_URGENCY = "normal"  # RFC 8030 section 5.3: any device but one that is short of power is woken


class PushTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a subscription wants told, and how."""

    endpoint: Endpoint
    keys: SubscriptionKeys | None  # None: sent in clear
    vapid_key: VapidKey  # the one that was advertised when the subscription was made (RFC 9749)


class PushOptions(msgspec.Struct, frozen=True, kw_only=True):
    ttl_seconds: int  # how long a push service may hold it; see `ttl_seconds`
    is_replay: bool = False  # by an operator: what is told may be old
    topic: str | None = None  # at most 32 characters of base64url; replaces what has the same
    traceparent: str | None = None  # only for who reads the message: see `push_request`


class PushRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A POST."""

    endpoint: Endpoint
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"PushRequest({self.endpoint.origin}, {len(self.body)} octets)"


def push_request(
    payload: bytes, target: PushTarget, options: PushOptions, *, signer: VapidSigner, now: datetime
) -> PushRequest:
    """`payload`: a StateChange or PushVerification as JSON; signed also in clear (RFC 9749).

    A traceparent is sent in clear messages alone: whoever passes encrypted ones on to devices must
    not learn from it which of them, of different users, tell the same change.

    Raises:
        PlaintextTooLongError: there are keys, and it is longer than PLAINTEXT_OCTETS_MAX.
    """
    headers = {
        "Content-Type": _JSON,
        "TTL": str(options.ttl_seconds),
        "Urgency": _URGENCY,
        "Authorization": signer.authorization(target.vapid_key, target.endpoint.origin, now),
        "User-Agent": "Tidings",
    }
    if options.is_replay:
        headers["Tidings-Replay"] = "1"
    if options.topic is not None:
        headers["Topic"] = options.topic
    if target.keys is None:
        if options.traceparent is not None:
            headers["traceparent"] = options.traceparent
        return PushRequest(endpoint=target.endpoint, headers=headers, body=payload)
    headers["Content-Encoding"] = CONTENT_ENCODING
    body = encrypt(payload, target.keys)
    return PushRequest(endpoint=target.endpoint, headers=headers, body=body)


def ttl_seconds(ends_at: datetime, now: datetime) -> int:
    """Held no longer than the subscription lives; 0: for a device that listens now."""
    left = min(ends_at - now, _TTL_MAX)
    return max(0, int(left.total_seconds()))
