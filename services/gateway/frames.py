"""Bytes of push messages: server-sent events, and WebSocket text frames (RFC 6455); no I/O."""

from collections.abc import Iterator

import msgspec

from services.gateway.push_connection import PushMessage
from shared.jmap.state_change import Changed, StateChange, encode_state_change, parts_of

MESSAGE_BYTES_MAX = 60_000
"""A StateChange of more is split: some clients take no line over 64 KiB."""

_encoder = msgspec.json.Encoder()
_TEXT = b"\x81"  # RFC 6455 section 5.2: final, text
_FRAME_7_BITS = 126  # RFC 6455 section 5.2: the lengths that say how the length is written
_FRAME_16_BITS = 1 << 16


class PushStateChange(msgspec.Struct, frozen=True, tag_field="@type", tag="StateChange"):
    """RFC 8887 section 4.3.5.1."""

    changed: Changed
    pushState: str  # noqa: N815  the RFC's name; Struct options cannot rename one field here


_state_changes = msgspec.json.Decoder(StateChange)
_push_state_changes = msgspec.json.Decoder(PushStateChange)


class _Ping(msgspec.Struct, frozen=True):
    interval: int


def state_events(message: PushMessage) -> Iterator[bytes]:
    """One `state` event, or several of which only the last has the id: it alone completes it."""
    *heads, last = parts_of(message.changed, MESSAGE_BYTES_MAX)
    for head in heads:
        yield b"event: state\ndata: %b\n\n" % encode_state_change(head)
    body = encode_state_change(last)
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
    *heads, last = parts_of(message.changed, MESSAGE_BYTES_MAX)
    for head in heads:
        yield text_frame(encode_state_change(head))
    yield text_frame(_encoder.encode(PushStateChange(last, message.cursor)))


def state_change_in(data: bytes) -> tuple[Changed, str]:
    """What a client reads in bytes that were written above, and the cursor that it gets."""
    if data[:1] == _TEXT:
        length = data[1]
        start = 2 if length < _FRAME_7_BITS else 4 if length == _FRAME_7_BITS else 10
        told = _push_state_changes.decode(data[start:])
        return told.changed, told.pushState
    _, _, event = data.partition(b"id: ")
    cursor, _, rest = event.partition(b"\ndata: ")
    return _state_changes.decode(rest.partition(b"\n")[0]).changed, cursor.decode()


def text_frame(body: bytes) -> bytes:
    """Final and unmasked, as a server sends it."""
    length = len(body)
    if length < _FRAME_7_BITS:
        return b"\x81%c%b" % (length, body)
    if length < _FRAME_16_BITS:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), body)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), body)
