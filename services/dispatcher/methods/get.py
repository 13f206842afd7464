"""/get (RFC 8620 section 5.1)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from services.dispatcher.methods.declaration import DeclaredType, Viewer
from shared.jmap.errors import MethodError, invalid_arguments
from shared.jmap.i_json import JsonObject

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_stored = msgspec.json.Decoder(JsonObject)


class AsksForIds(Protocol):
    """The arguments of any /get; None: all."""

    @property
    def ids(self) -> list[str] | None: ...


def requested_ids(
    arguments: AsksForIds, created_ids: Mapping[str, str], objects_max: int
) -> list[str] | None:
    """Without doubles, creation ids resolved; None: all."""
    if arguments.ids is None:
        return None
    if len(arguments.ids) > objects_max:
        raise MethodError("requestTooLarge", f"More than {objects_max} ids.")
    resolved = [
        created_ids.get(item[1:], item) if item.startswith("#") else item for item in arguments.ids
    ]
    return list(dict.fromkeys(resolved))


def check_properties(declared: DeclaredType, properties: Sequence[str] | None) -> None:
    unknown = [name for name in properties or () if not declared.may_name(name)]
    if unknown:
        raise invalid_arguments(
            f"{declared.name} has no property {', '.join(map(repr, unknown[:5]))}.", "properties"
        )


def shown_record(
    declared: DeclaredType,
    record_id: str,
    data: bytes,
    *,
    viewer: Viewer,
    properties: Iterable[str] | None,
) -> msgspec.Raw:
    """The record as JSON. Where nothing is computed, its bytes are never parsed to values."""
    if not declared.is_viewed_as_stored:
        viewed = declared.view(_stored.decode(data), viewer)
        return _joined(
            record_id,
            {
                name: msgspec.Raw(msgspec.json.encode(value))
                for name, value in viewed.items()
                if properties is None or name in properties
            },
        )
    if properties is None:
        comma = b"" if data == b"{}" else b","
        return msgspec.Raw(b'{"id":"' + record_id.encode() + b'"' + comma + data[1:])
    stored = _object.decode(data)
    return _joined(record_id, {name: stored[name] for name in properties if name in stored})


def _joined(record_id: str, members: Mapping[str, msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({"id": record_id, **members}))
