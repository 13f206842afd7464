"""The contract of method services: names, subjects, what a service says of itself.

docs/method-services.md has it for those who write one, in whatever language.
"""

import re
from collections.abc import Mapping

import msgspec
from msgspec import field

from shared.jmap.i_json import MSGSPEC_ERRORS, JsonObject, NotIJsonError, decode_i_json, encode_json

CONTRACT_VERSION = 1
"""Members may be added to a version, and are ignored by who does not know them."""

METHOD_SUBJECT = "tidings.method"
CANCEL_SUBJECT = "tidings.cancel"

_CONTRACT = "tidings.contract"  # versions, with spaces between them
_CAPABILITY = "tidings.capability"  # the exact URI
_SESSION = "tidings.session"  # JSON: the session's capability object
_ACCOUNT = "tidings.account"  # JSON: that of each account; absent: no account has it
_TYPES = "tidings.types"  # JSON: {type: [verb]}

_METADATA_OCTETS_MAX = 64 * 1024
_TYPES_MAX = 64
_VERBS_MAX = 32
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9-]", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,250}", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}", re.ASCII)
_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+][0-9A-Za-z.+-]{1,100})?", re.ASCII)


class ContractError(ValueError):
    """What a service says of itself does not fit; the message says what."""


class ServiceDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What all instances of one version of a service say of themselves.

    `account` None: no account has the capability. A type without verbs has states only.
    """

    capability: str
    version: str  # semantic
    session: JsonObject = field(default_factory=dict)
    account: JsonObject | None = field(default_factory=dict)
    types: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        return service_name(self.capability)

    @property
    def methods(self) -> list[str]:
        return [f"{type_}/{verb}" for type_, verbs in self.types.items() for verb in verbs]

    @property
    def newness(self) -> tuple[tuple[int, ...], bytes]:
        """The greatest one speaks for all instances, whoever compares them."""
        match = _VERSION.fullmatch(self.version)
        numbers = tuple(map(int, match.groups())) if match else ()
        return numbers, encode_json(metadata_of(self))


def service_name(capability: str) -> str:
    """A name that the services API allows: `urn:example:notes` → `urn_example_notes`."""
    return _NOT_IN_NAMES.sub("_", capability)


def subject_of(method: str) -> str:
    """`Note/get` → `tidings.method.Note.get`."""
    type_name, _, verb = method.partition("/")
    return f"{METHOD_SUBJECT}.{type_name}.{verb}"


def cancel_subject(service: str) -> str:
    """Every instance of the service hears it; the body is the reply subject of the call."""
    return f"{CANCEL_SUBJECT}.{service}"


def metadata_of(description: ServiceDescription) -> dict[str, str]:
    """For the registration."""
    metadata = {
        _CONTRACT: str(CONTRACT_VERSION),
        _CAPABILITY: description.capability,
        _SESSION: encode_json(description.session).decode(),
        _TYPES: encode_json(description.types).decode(),
    }
    if description.account is not None:
        metadata[_ACCOUNT] = encode_json(description.account).decode()
    return metadata


class _Info(msgspec.Struct, frozen=True):
    """An answer to `$SRV.INFO`."""

    type: str
    name: str
    id: str
    version: str
    metadata: dict[str, str] | None = None


_info_decoder = msgspec.json.Decoder(_Info)
_INFO_TYPE = "io.nats.micro.v1.info_response"
_INSTANCE_ID = re.compile(r"[!-~]{1,100}", re.ASCII)


def read_info(body: bytes) -> tuple[str, ServiceDescription] | None:
    """Id of the instance, and what it says; None for services that are none of methods.

    Raises ContractError.
    """
    if len(body) > _METADATA_OCTETS_MAX:
        raise ContractError("it says more of itself than 64 KiB")
    try:
        info = _info_decoder.decode(body)
    except MSGSPEC_ERRORS as error:
        raise ContractError(f"its INFO cannot be read: {error}") from error
    if info.type != _INFO_TYPE or not info.metadata or _CAPABILITY not in info.metadata:
        return None
    if not _INSTANCE_ID.fullmatch(info.id):
        raise ContractError("its id is not 1 to 100 printable characters")
    return info.id, _description(info, info.metadata)


def _description(info: _Info, metadata: Mapping[str, str]) -> ServiceDescription:
    capability = metadata[_CAPABILITY]
    if not _URI.fullmatch(capability):
        raise ContractError(f"{_CAPABILITY} is no URI")
    if info.name != service_name(capability):
        raise ContractError(f"its name is not {service_name(capability)}")
    if str(CONTRACT_VERSION) not in metadata.get(_CONTRACT, "").split():
        raise ContractError(f"{_CONTRACT} does not name version {CONTRACT_VERSION}")
    if not _VERSION.fullmatch(info.version):
        raise ContractError("its version is not of the form 1.2.3")
    return ServiceDescription(
        capability=capability,
        version=info.version,
        session=_object(metadata, _SESSION, "{}"),
        account=_object(metadata, _ACCOUNT, "{}") if _ACCOUNT in metadata else None,
        types=_types(_object(metadata, _TYPES, "{}")),
    )


def _object(metadata: Mapping[str, str], key: str, default: str) -> JsonObject:
    try:
        value = decode_i_json(metadata.get(key, default).encode())
    except (NotIJsonError, UnicodeEncodeError) as error:
        raise ContractError(f"{key}: {error}") from error
    if not isinstance(value, dict):
        raise ContractError(f"{key} is no JSON object")
    return value


def _types(value: JsonObject) -> dict[str, tuple[str, ...]]:
    if not 0 < len(value) <= _TYPES_MAX:
        raise ContractError(f"{_TYPES} does not name 1 to {_TYPES_MAX} types")
    return {name: _verbs(name, verbs) for name, verbs in value.items()}


def _verbs(type_name: str, verbs: object) -> tuple[str, ...]:
    named = tuple(verb for verb in verbs if _is_word(verb)) if isinstance(verbs, list) else None
    if (
        not isinstance(verbs, list)
        or named is None
        or not _is_word(type_name)
        or len(verbs) > _VERBS_MAX
        or len(set(named)) != len(verbs)
    ):
        raise ContractError(f'{_TYPES} is not of the form {{"Type": ["verb"]}}')
    return named


def _is_word(text: object) -> bool:
    return isinstance(text, str) and _WORD.fullmatch(text) is not None
