"""What a subscription keeps secret at rest: its URL, its keys and its verification code."""

import msgspec

from shared.web_push.sealing import SealingKey, UnsealError


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where to POST to, and for whom to encrypt; `p256dh` and `auth` are both given or both not."""

    url: str
    p256dh: bytes | None = None  # 65 octets: an uncompressed point of P-256
    auth: bytes | None = None  # 16 octets
    code: str  # of the PushVerification

    def __repr__(self) -> str:
        return "Endpoint(***)"


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Endpoint)
# As MSGSPEC_ERRORS of shared/jmap/i_json.py, which is no layer below this one.
_NO_ENDPOINT = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def seal_endpoint(key: SealingKey, subscription_id: str, endpoint: Endpoint) -> bytes:
    return key.seal(_encode(endpoint), purpose=_purpose(subscription_id))


def unseal_endpoint(key: SealingKey, subscription_id: str, sealed: bytes) -> Endpoint:
    """Raises UnsealError."""
    plain = key.unseal(sealed, purpose=_purpose(subscription_id))
    try:
        return _decoder.decode(plain)
    except _NO_ENDPOINT:
        raise UnsealError(_purpose(subscription_id)) from None  # the cause would show the URL


def _purpose(subscription_id: str) -> str:
    return f"endpoint:{subscription_id}"
