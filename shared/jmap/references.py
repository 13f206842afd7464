"""References to results of earlier calls of the same request (RFC 8620 section 3.7)."""

from collections.abc import Sequence

import msgspec

from shared.jmap.envelope import MethodResponse
from shared.jmap.errors import MethodError, invalid_arguments
from shared.jmap.i_json import JsonObject, JsonValue, decode_i_json, encode_json
from shared.jmap.pointer import PointerError, evaluate, parse_pointer


def resolve_references(arguments: JsonObject, responses: Sequence[MethodResponse]) -> JsonObject:
    """Arguments with each `#name` replaced by what it refers to.

    Raises MethodError: invalidResultReference, or invalidArguments when `name` is there too.
    """
    if not any(name.startswith("#") for name in arguments):
        return arguments
    both = [name for name in arguments if "#" + name in arguments]
    if both:
        raise invalid_arguments("Given as a value and as a reference.", *both)
    return {
        name.removeprefix("#"): _resolve(value, responses) if name.startswith("#") else value
        for name, value in arguments.items()
    }


def _resolve(value: JsonValue, responses: Sequence[MethodResponse]) -> JsonValue:
    match value:
        case {"resultOf": str(call_id), "name": str(name), "path": str(path)}:
            pass
        case _:
            raise _failed("A ResultReference has resultOf, name and path, each a string.")
    response = next((answer for answer in responses if answer.call_id == call_id), None)
    if response is None:
        raise _failed("No earlier response has the call id of resultOf.")
    if response.name != name:
        raise _failed(f"The response to that call is named {response.name}.")
    try:
        return evaluate(_plain(response), parse_pointer(path))
    except PointerError as error:
        raise _failed(f"path: {error}") from error


def _plain(response: MethodResponse) -> JsonValue:
    """As the client will read it: members that are still raw JSON are decoded."""
    if not any(_is_raw(member) for member in response.arguments.values()):
        return response.arguments  # type: ignore[return-value]  # no member is Raw
    return decode_i_json(encode_json(response.arguments), depth_max=1000)


def _is_raw(member: object) -> bool:
    if isinstance(member, list):
        return any(isinstance(item, msgspec.Raw) for item in member)
    return isinstance(member, msgspec.Raw)


def _failed(description: str) -> MethodError:
    return MethodError("invalidResultReference", description)
