"""I-JSON (RFC 7493), which every JMAP message is (RFC 8620 section 1.5): strict in, compact out."""

import json
import math
import re
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    JsonValue: TypeAlias = (
        "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
    )
else:
    JsonValue: TypeAlias = Any  # msgspec does not read recursive aliases

JsonObject: TypeAlias = dict[str, JsonValue]

DEPTH_MAX = 64
"""Of arrays and objects within each other; RFC 8620 section 8.4 asks for a bound."""

INT_MAX = 2**53 - 1

MSGSPEC_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for octets that are not the JSON that is wanted: not only its own errors."""

_INT_CHARACTERS_MAX = 17

# One that does not end goes to the end of the text, and nothing is tried twice: else each of its
# quotes would be looked at as the begin of another string, in the square of the text's length.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class NotIJsonError(ValueError):
    """The bytes are no I-JSON; the message says why, without quoting them."""


def decode_i_json(body: bytes, *, depth_max: int = DEPTH_MAX) -> JsonValue:
    """Raises NotIJsonError.

    Also for what `json` alone lets through: duplicate members, lone surrogates, numbers that a
    double or 2**53-1 cannot hold, NaN, any depth.
    """
    _check_depth(body, depth_max)
    try:
        value: JsonValue = _decoder.decode(body.decode())
    except UnicodeDecodeError as error:
        raise NotIJsonError("The body is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise NotIJsonError(f"Not JSON: {error.msg} at character {error.pos}.") from error
    if _SURROGATE_ESCAPE.search(body) is not None:
        _check_surrogates(value)
    return value


def encode_json(value: object) -> bytes:
    return _encoder.encode(value)


_encoder = msgspec.json.Encoder()


def _object(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotIJsonError("An object has two members of the same name.")
    return members


def _integer(text: str) -> int:
    if len(text) > _INT_CHARACTERS_MAX or abs(number := int(text)) > INT_MAX:
        raise NotIJsonError("An integer is outside of -2^53+1 to 2^53-1.")
    return number


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotIJsonError("A number is too large for a double.")
    return number


def _constant(name: str) -> float:
    raise NotIJsonError(f"{name} is no JSON number.")


# Made once: `json.loads` would make one for each text.
_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def _check_depth(body: bytes, depth_max: int) -> None:
    """Count before parsing, so that no depth reaches the recursion of a parser.

    Innermost pairs are removed round by round: as many rounds as the text is deep.
    """
    if body.count(b"[") + body.count(b"{") <= depth_max:
        return
    brackets = _STRING.sub(b"", body).translate(None, _NOT_BRACKETS)
    for _ in range(depth_max):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    if brackets:
        raise NotIJsonError(f"Nested deeper than {depth_max}, or brackets do not match.")


def _check_surrogates(value: JsonValue) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise NotIJsonError("A string has a lone surrogate.") from error
