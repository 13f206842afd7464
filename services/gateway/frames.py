"""Bytes of push messages: server-sent events, and WebSocket text frames (RFC 6455); no I/O."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from services.gateway.push_connection import PushMessage

MESSAGE_BYTES_MAX = 60_000
"""A StateChange of more is split: some clients take no line over 64 KiB."""

Changed: TypeAlias = Mapping[str, Mapping[str, str]]
"""Account -> type -> state token."""

_encoder = msgspec.json.Encoder()
_FRAME_7_BITS = 126  # RFC 6455 section 5.2: the lengths that say how the length is written
_FRAME_16_BITS = 1 << 16


class StateChange(msgspec.Struct, frozen=True, tag_field="@type", tag="StateChange"):
    """RFC 8620 section 7.1."""

    changed: Changed


class PushStateChange(msgspec.Struct, frozen=True, tag_field="@type", tag="StateChange"):
    """RFC 8887 section 4.3.5.1."""

    changed: Changed
    pushState: str  # noqa: N815  the RFC's name; Struct options cannot rename one field here


class _Ping(msgspec.Struct, frozen=True):
    interval: int


def state_events(message: PushMessage) -> Iterator[bytes]:
    """One `state` event, or several of which only the last has the id: it alone completes it."""
    *heads, last = _bounded(message.changed)
    for head in heads:
        yield b"event: state\ndata: %b\n\n" % _encoder.encode(StateChange(head))
    body = _encoder.encode(StateChange(last))
    yield b"event: state\nid: %b\ndata: %b\n\n" % (message.cursor.encode(), body)


def ping_event(ping_seconds: int) -> bytes:
    """Without id (RFC 8620 section 7.3)."""
    return b"event: ping\ndata: %b\n\n" % _encoder.encode(_Ping(ping_seconds))


def retry_line(milliseconds: int) -> bytes:
    """Without a blank line: browsers obey it, and some clients take a blank line for an event."""
    return b"retry: %d\n" % milliseconds


def chunk(body: bytes) -> bytes:
    """HTTP/1.1 chunked coding; one chunk for one event, since some clients read chunk by chunk."""
    return b"%x\r\n%b\r\n" % (len(body), body)


LAST_CHUNK = b"0\r\n\r\n"


def push_messages(message: PushMessage) -> Iterator[bytes]:
    """One StateChange as a WebSocket frame, or several of which only the last has `pushState`."""
    *heads, last = _bounded(message.changed)
    for head in heads:
        yield text_frame(_encoder.encode(StateChange(head)))
    yield text_frame(_encoder.encode(PushStateChange(last, message.cursor)))


def text_frame(body: bytes) -> bytes:
    """Final and unmasked, as a server sends it."""
    length = len(body)
    if length < _FRAME_7_BITS:
        return b"\x81%c%b" % (length, body)
    if length < _FRAME_16_BITS:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), body)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), body)


def _bounded(changed: Changed) -> Iterable[Changed]:
    return [changed] if _size(changed) <= MESSAGE_BYTES_MAX else _parts(changed)


def _parts(changed: Changed) -> Iterator[Changed]:
    """Cut between states so that each part encodes to about MESSAGE_BYTES_MAX or less."""
    part: dict[str, dict[str, str]] = {}
    length = 0
    for account_id, states in changed.items():
        for type_name, state in states.items():
            size = _size({account_id: {type_name: state}})  # counts the account each time
            if part and length + size > MESSAGE_BYTES_MAX:
                yield part
                part, length = {}, 0
            part.setdefault(account_id, {})[type_name] = state
            length += size
    yield part


def _size(changed: Changed) -> int:
    return len(_encoder.encode(changed))
