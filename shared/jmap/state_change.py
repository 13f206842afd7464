"""The StateChange object (RFC 8620 section 7.1), as every transport sends it."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import msgspec

Changed: TypeAlias = Mapping[str, Mapping[str, str]]
"""Account -> type -> state token."""


class StateChange(msgspec.Struct, frozen=True, tag_field="@type", tag="StateChange"):
    changed: Changed


_encoder = msgspec.json.Encoder()
_FRAME_OCTETS = len(_encoder.encode(StateChange({}))) - len(b"{}")


def encode_state_change(changed: Changed) -> bytes:
    return _encoder.encode(StateChange(changed))


def parts_of(changed: Changed, octets_max: int) -> list[Changed]:
    """Cut between states, so that each part encodes to `octets_max` or less.

    A single state of more is a part of its own. The parts keep the order of accounts and types.
    """
    if _FRAME_OCTETS + _size(changed) <= octets_max:
        return [changed]
    return list(_cut(changed, octets_max - _FRAME_OCTETS))


def _cut(changed: Changed, octets_max: int) -> Iterator[Changed]:
    part: dict[str, dict[str, str]] = {}
    length = 0
    for account_id, states in changed.items():
        for type_name, state in states.items():
            size = _size({account_id: {type_name: state}})  # counts the account each time
            if part and length + size > octets_max:
                yield part
                part, length = {}, 0
            part.setdefault(account_id, {})[type_name] = state
            length += size
    yield part


def _size(changed: Changed) -> int:
    return len(_encoder.encode(changed))
