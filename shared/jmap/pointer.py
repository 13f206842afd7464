"""JSON Pointer (RFC 6901), and with `*` as result references have it (RFC 8620 section 3.7)."""

import re
from collections.abc import Callable

from shared.jmap.i_json import JsonValue

_EACH = "*"
_BAD_ESCAPE = re.compile(r"~(?![01])")
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)


class PointerError(ValueError):
    """The text is no pointer, or points to nothing."""


def parse_pointer(text: str) -> list[str]:
    """The unescaped tokens; "" is the whole document."""
    if text == "":
        return []
    if not text.startswith("/") or _BAD_ESCAPE.search(text) is not None:
        raise PointerError("Not a JSON Pointer.")
    return [token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/")]


def evaluate(value: JsonValue, tokens: list[str], spend: Callable[[int], None]) -> JsonValue:
    """Raises PointerError. A `*` maps over an array, and flattens one level.

    `spend` is told the length of each such array before, and ends the walk by raising.
    """
    for place, token in enumerate(tokens):
        if isinstance(value, list) and token == _EACH:
            spend(len(value))
            return _mapped(value, tokens[place + 1 :], spend)
        value = _member(value, token)
    return value


def _mapped(values: list[JsonValue], tokens: list[str], spend: Callable[[int], None]) -> JsonValue:
    found: list[JsonValue] = []
    for value in values:
        result = evaluate(value, tokens, spend)
        if isinstance(result, list):
            found.extend(result)
        else:
            found.append(result)
    return found


def _member(value: JsonValue, token: str) -> JsonValue:
    if isinstance(value, dict) and token in value:
        return value[token]
    if isinstance(value, list) and _INDEX.fullmatch(token) is not None and int(token) < len(value):
        return value[int(token)]
    raise PointerError("Points to nothing.")
