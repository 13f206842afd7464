"""`data:` URIs of media become blobs, so that clients load them only when needed (RFC 9610 3)."""

import base64
import binascii
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import msgspec

from services.dispatcher.methods.declaration import DeclaredType
from services.dispatcher.methods.set import Draft
from shared.jmap.i_json import JsonObject, JsonValue

_DEFAULT_TYPE = "text/plain"  # RFC 2397


class InlineBlob(msgspec.Struct, frozen=True, kw_only=True):
    """A blob that has to be stored before the record that refers to it."""

    id: str
    type: str
    content: bytes


def without_data_uris(
    declared: DeclaredType, draft: Draft, new_id: Callable[[], str]
) -> tuple[Draft, list[InlineBlob]]:
    """The draft with `blobId` for each `data:` URI that can be read, told in its answer."""
    name = declared.inline_media
    if (
        name is None
        or draft.stored is None
        or not isinstance(media := draft.stored.get(name), dict)
    ):
        return draft, []
    blobs: list[InlineBlob] = []
    changed: JsonObject = {}
    for key, item in media.items():
        blob = _blob_of(item, new_id)
        changed[key] = item
        if blob is not None and isinstance(item, dict):
            blobs.append(blob)
            rest = {member: value for member, value in item.items() if member != "uri"}
            changed[key] = {**rest, "blobId": blob.id, "mediaType": blob.type}
    if not blobs:
        return draft, []
    told = msgspec.structs.replace(
        draft,
        stored={**draft.stored, name: changed},
        answer={**draft.answer, name: changed},
    )
    return told, blobs


def parse_data_uri(uri: str) -> tuple[str, bytes] | None:
    """(media type, octets); None where it is none, or is malformed (RFC 2397)."""
    head, comma, data = uri.partition(",")
    scheme, _, parameters = head.partition(":")
    if scheme.lower() != "data" or not comma:
        return None
    type_, *rest = parameters.split(";")
    octets = unquote_to_bytes(data)
    if "base64" in (item.strip().lower() for item in rest):
        try:
            octets = base64.b64decode(octets + b"=" * (-len(octets) % 4), validate=True)
        except binascii.Error:
            return None
    return type_ if type_.isascii() and "/" in type_ else _DEFAULT_TYPE, octets


def _blob_of(item: JsonValue, new_id: Callable[[], str]) -> InlineBlob | None:
    uri = item.get("uri") if isinstance(item, dict) else None
    parsed = parse_data_uri(uri) if isinstance(uri, str) else None
    if parsed is None:
        return None
    return InlineBlob(id=new_id(), type=parsed[0], content=parsed[1])
