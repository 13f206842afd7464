"""A JMAP request that came over a WebSocket, as a gateway passes it to the dispatchers.

It goes by NATS request and reply to one of the queue group. The gateway has authenticated it.
"""

import msgspec

from shared.jmap.session import Capability
from shared.store.credentials import Credential

WEBSOCKET = "urn:ietf:params:jmap:websocket"
FORWARD_SUBJECT = "tidings.jmap.request"
FORWARD_QUEUE = "dispatchers"
TRACEPARENT = "traceparent"  # a header of the message
FORWARD_SECONDS_MAX = 60.0
"""For the whole of a request; whoever waits longer is told that the outcome is unknown."""


class ForwardedRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`body` is the Request object as the client wrote it.

    After `expires_at`, in seconds of Unix time, the gateway has told the client that there was no
    answer, and the client may have asked again: it must not begin then. None: it may, always.
    """

    credential: Credential
    body: msgspec.Raw
    expires_at: float | None = None


class ForwardedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`status` as over HTTP: 200 and a Response, else problem details."""

    status: int
    body: msgspec.Raw


_encode = msgspec.json.Encoder().encode
_requests = msgspec.json.Decoder(ForwardedRequest)
_answers = msgspec.json.Decoder(ForwardedAnswer)


def encode_forwarded(message: ForwardedRequest | ForwardedAnswer) -> bytes:
    return _encode(message)


def decode_forwarded_request(data: bytes) -> ForwardedRequest:
    """Raises msgspec.MsgspecError."""
    return _requests.decode(data)


def decode_forwarded_answer(data: bytes) -> ForwardedAnswer:
    """Raises msgspec.MsgspecError."""
    return _answers.decode(data)


def websocket_capability(public_url: str) -> Capability:
    """What the session says of the gateways' WebSocket (RFC 8887 section 3)."""
    url = public_url.rstrip("/").replace("http", "ws", 1) + "/jmap/ws"
    return Capability(urn=WEBSOCKET, session={"url": url, "supportsPush": True})
