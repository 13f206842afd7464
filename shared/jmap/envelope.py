"""Request and Response (RFC 8620 sections 3.2 to 3.4)."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from shared.jmap.errors import not_request
from shared.jmap.i_json import JsonObject, JsonValue
from shared.jmap.ids import is_id

Arguments: TypeAlias = Mapping[str, JsonValue | msgspec.Raw | list[msgspec.Raw]]
"""Of a response; a Raw member is JSON as the database gave it."""


class Invocation(msgspec.Struct, frozen=True, array_like=True):
    """A method call."""

    name: str
    arguments: JsonObject
    call_id: str


class MethodResponse(msgspec.Struct, frozen=True, array_like=True):
    """A method's answer, or ["error", …]."""

    name: str
    arguments: Arguments
    call_id: str


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """`created_ids` is None when the client did not send any, and then gets none back."""

    using: frozenset[str]
    method_calls: list[Invocation]
    created_ids: dict[str, str] | None


class Response(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a processed request answers."""

    method_responses: Sequence[MethodResponse]
    session_state: str
    created_ids: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


def request_from_json(value: JsonValue) -> Request:
    """Raises RequestError (notRequest). Members that the RFC does not name are ignored."""
    if not isinstance(value, dict):
        raise not_request("A request is a JSON object.")
    return Request(
        using=frozenset(_strings(value.get("using"))),
        method_calls=_invocations(value.get("methodCalls")),
        created_ids=_created_ids(value["createdIds"]) if "createdIds" in value else None,
    )


def _strings(value: JsonValue) -> list[str]:
    if not isinstance(value, list):
        raise not_request("`using` must be an array of strings.")
    strings = [item for item in value if isinstance(item, str)]
    if len(strings) != len(value):
        raise not_request("`using` must be an array of strings.")
    return strings


def _invocations(value: JsonValue) -> list[Invocation]:
    if not isinstance(value, list):
        raise not_request("`methodCalls` must be an array.")
    return [_invocation(index, item) for index, item in enumerate(value)]


def _invocation(index: int, value: JsonValue) -> Invocation:
    match value:
        case [str(name), dict(arguments), str(call_id)]:
            return Invocation(name, arguments, call_id)
        case _:
            raise not_request(
                f"`methodCalls/{index}` must be [name, arguments, call id]: "
                "a string, an object, a string."
            )


def _created_ids(value: JsonValue) -> dict[str, str]:
    if not isinstance(value, dict):
        raise not_request("`createdIds` must be an object.")
    created_ids = {
        creation_id: record_id
        for creation_id, record_id in value.items()
        if isinstance(record_id, str) and is_id(record_id) and is_id(creation_id)
    }
    if len(created_ids) != len(value):
        raise not_request("`createdIds` must map ids to ids.")
    return created_ids
