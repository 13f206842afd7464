"""The cursor: SSE `id:`, RFC 8887 `pushState` and a lane's position are this one token.

`<version>.<epoch>.<sequence>`: printable ASCII without spaces, at most 64 characters. It names a
place in the log, not types or accounts, so it is valid for any filter on any node. Outside this
package it is opaque.
"""

import re

import msgspec

CURSOR_LENGTH_MAX = 64
_VERSION = "1"
_CURSOR = re.compile(r"1\.([a-z0-9]{1,26})\.(0|[1-9][0-9]{0,18})", re.ASCII)


class Cursor(msgspec.Struct, frozen=True):
    """All of the log of `epoch` up to and with `sequence` is known to the holder."""

    epoch: str
    sequence: int


def encode_cursor(cursor: Cursor) -> str:
    return f"{_VERSION}.{cursor.epoch}.{cursor.sequence}"


def decode_cursor(text: str) -> Cursor | None:
    """None for anything that this version did not write."""
    if len(text) > CURSOR_LENGTH_MAX:
        return None
    match = _CURSOR.fullmatch(text)
    return None if match is None else Cursor(match[1], int(match[2]))
