"""The arguments and values of RFC 9404's methods."""

import base64
import binascii
import hashlib
from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.dispatcher.methods.arguments import Arguments
from shared.jmap.errors import SetError, SetRejectedError, invalid_arguments
from shared.jmap.i_json import INT_MAX, JsonObject

DATA_SOURCES_MAX = 256
DIGESTS = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1"}
"""As RFC 9404 names them -> as hashlib does; the first is the best."""

_UnsignedInt: TypeAlias = Annotated[int, Meta(ge=0, le=INT_MAX)]
_PLAIN_PROPERTIES = frozenset({"data", "data:asText", "data:asBase64", "size"})


class UploadArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 9404 section 4.1."""

    create: dict[str, JsonObject]


class BlobGetArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 9404 section 4.2; here `ids` cannot be null."""

    ids: list[str]
    properties: list[str] | None = None
    offset: _UnsignedInt | None = None
    length: _UnsignedInt | None = None


class LookupArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 9404 section 4.3."""

    type_names: list[str]
    ids: list[str]


class BlobCopyArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 8620 section 6.3."""

    from_account_id: str
    blob_ids: list[str]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly one of text, base64 and a part of another blob."""

    text: str | None = msgspec.field(default=None, name="data:asText")
    base64: str | None = msgspec.field(default=None, name="data:asBase64")
    blob_id: str | UnsetType = msgspec.field(default=UNSET, name="blobId")
    offset: _UnsignedInt | None = None
    length: _UnsignedInt | None = None

    def __post_init__(self) -> None:
        given = (self.text is not None) + (self.base64 is not None) + (self.blob_id is not UNSET)
        if given != 1:
            raise ValueError("A source is one of data:asText, data:asBase64 and blobId")
        if self.blob_id is UNSET and (self.offset, self.length) != (None, None):
            raise ValueError("offset and length are of a blobId")


class Upload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a blob is put together from."""

    data: Annotated[list[Source], Meta(max_length=DATA_SOURCES_MAX)]
    type: Annotated[str, Meta(max_length=255, pattern=r"^[\x20-\x7e]*$")] | None = None


def read_upload(given: JsonObject) -> Upload:
    """Raises SetRejectedError."""
    try:
        return msgspec.convert(given, Upload)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error


def literal_octets(source: Source) -> bytes:
    """Of a source that is no blob. Raises SetRejectedError."""
    if source.text is not None:
        return source.text.encode()
    try:
        return base64.b64decode(source.base64 or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _invalid("data:asBase64 is not base64.") from error


def source_range(source: Source, size: int) -> tuple[int, int]:
    """(start, end) in a blob of `size`. Raises SetRejectedError where it reaches beyond."""
    start = source.offset or 0
    end = size if source.length is None else start + source.length
    if start > size or end > size:
        raise _invalid("The range reaches beyond the blob.")
    return start, end


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What Blob/get is to answer, checked."""

    properties: frozenset[str]
    digests: tuple[str, ...]
    offset: int
    length: int | None

    @property
    def wants_data(self) -> bool:
        return not self.properties.isdisjoint({"data", "data:asText", "data:asBase64"})

    def range_in(self, size: int) -> tuple[int, int, bool]:
        """(start, end, whether the request reaches beyond the blob)."""
        start = min(self.offset, size)
        if self.length is None:
            return start, size, self.offset > size
        return start, min(self.offset + self.length, size), self.offset + self.length > size


def read_selection(arguments: BlobGetArguments) -> Selection:
    """Raises MethodError (invalidArguments)."""
    wanted = ["data", "size"] if arguments.properties is None else arguments.properties
    digests = [name.removeprefix("digest:") for name in wanted if name.startswith("digest:")]
    plain = {name for name in wanted if not name.startswith("digest:")}
    unknown = [*(plain - _PLAIN_PROPERTIES - {"id"}), *(set(digests) - set(DIGESTS))]
    if unknown:
        raise invalid_arguments("There is no such property of a blob.", "properties")
    return Selection(
        properties=frozenset(plain),
        digests=tuple(dict.fromkeys(digests)),
        offset=arguments.offset or 0,
        length=arguments.length,
    )


class BlobView:
    """Takes the octets of the selected range and makes the answer's object."""

    def __init__(self, blob_id: str, size: int, selection: Selection) -> None:
        self._selection = selection
        self._size = size
        self._blob_id = blob_id
        self._data = bytearray()
        self._digests = {
            name: hashlib.new(DIGESTS[name], usedforsecurity=False) for name in selection.digests
        }

    def take(self, piece: bytes) -> None:
        for digest in self._digests.values():
            digest.update(piece)
        if self._selection.wants_data:
            self._data += piece

    def shown(self) -> JsonObject:
        shown: JsonObject = {"id": self._blob_id}
        wanted = self._selection.properties
        if "size" in wanted:
            shown["size"] = self._size
        if self._selection.wants_data:
            shown.update(self._shown_data())
        for name, digest in self._digests.items():
            shown[f"digest:{name}"] = base64.b64encode(digest.digest()).decode()
        if self._selection.range_in(self._size)[2]:
            shown["isTruncated"] = True
        return shown

    def _shown_data(self) -> JsonObject:
        wanted = self._selection.properties
        try:
            text: str | None = self._data.decode()
        except UnicodeDecodeError:
            text = None
        shown: JsonObject = {}
        if "data:asText" in wanted or ("data" in wanted and text is not None):
            shown["data:asText"] = text
        if "data:asBase64" in wanted or ("data" in wanted and text is None):
            shown["data:asBase64"] = base64.b64encode(self._data).decode()
        if text is None and wanted & {"data", "data:asText"}:
            shown["isEncodingProblem"] = True
        return shown


def _invalid(description: str) -> SetRejectedError:
    return SetRejectedError(
        SetError(type="invalidProperties", description=description, properties=["data"])
    )
