"""Paths of a declaration: where in a record values stand (see QueryRules)."""

import functools

from shared.jmap.i_json import JsonValue


def strings_at(value: JsonValue, path: str) -> list[str]:
    """Every string that the path leads to, in order; for a set, the names of its members."""
    name, tokens = _parsed(path)
    if name is not None and isinstance(value, dict) and name not in value:
        return []  # so end most paths: a card has few of the properties that it could have
    places = [value]
    for token in tokens:
        places = [found for place in places for found in _step(place, token)]
    return [place for place in places if isinstance(place, str)]


@functools.cache
def _parsed(path: str) -> tuple[str | None, list[str]]:
    """The path's tokens, and the first of them if it names a member."""
    tokens = path.split("/")
    first = tokens[0]
    return (None if first in ("*", "keys") or "=" in first else first), tokens


def _step(place: JsonValue, token: str) -> list[JsonValue]:
    if token == "keys":  # noqa: S105 - a token of a path
        return list[JsonValue](place) if isinstance(place, dict) else []
    if isinstance(place, dict):
        members = list(place.values())
    else:
        members = place if isinstance(place, list) else []
    if token == "*":  # noqa: S105
        return members
    name, equals, wanted = token.partition("=")
    if equals:
        return [item for item in members if isinstance(item, dict) and item.get(name) == wanted]
    return [place[token]] if isinstance(place, dict) and token in place else []
