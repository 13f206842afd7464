"""PatchObject (RFC 8620 section 5.3)."""

import itertools
from collections.abc import Mapping

from shared.jmap.errors import SetError, SetRejectedError
from shared.jmap.i_json import JsonObject, JsonValue
from shared.jmap.pointer import PointerError, parse_pointer


def apply_patch(
    record: JsonObject, patch: JsonObject, *, defaults: Mapping[str, JsonValue]
) -> JsonObject:
    """The patched copy; nothing reachable from `record` is changed.

    `defaults` are those of the record's own properties: null sets them. Raises SetRejectedError
    (invalidPatch).
    """
    paths = {path: _tokens(path) for path in patch}
    _check_overlap(list(paths.values()))
    patched = dict(record)
    copied: dict[int, JsonObject] = {id(patched): patched}
    for path, value in patch.items():
        *above, last = paths[path]
        parent = _parent(patched, above, copied)
        if value is not None:
            parent[last] = value
        elif not above and last in defaults:
            parent[last] = defaults[last]
        else:
            parent.pop(last, None)
    return patched


def touched_properties(patch: JsonObject) -> set[str]:
    """The record's own properties that the patch names; for a patch that applied."""
    return {_tokens(path)[0] for path in patch}


def _tokens(path: str) -> list[str]:
    try:
        return parse_pointer("/" + path)
    except PointerError as error:
        raise _invalid(f"{path!r} is not a JSON Pointer.") from error


def _check_overlap(paths: list[list[str]]) -> None:
    """Sorted by tokens, a prefix stands right before what it is a prefix of."""
    ordered = sorted(paths)
    for shorter, longer in itertools.pairwise(ordered):
        if longer[: len(shorter)] == shorter:
            raise _invalid(f"{'/'.join(shorter)!r} is patched twice.")


def _parent(record: JsonObject, above: list[str], copied: dict[int, JsonObject]) -> JsonObject:
    """The object that holds the last token, copied on the way down once per patch."""
    parent = record
    for token in above:
        if token not in parent:
            raise _invalid(f"{token!r} does not exist.")
        child = parent[token]
        if not isinstance(child, dict):
            raise _invalid(f"{token!r} is not an object.")
        if id(child) not in copied:
            child = dict(child)
            copied[id(child)] = child
            parent[token] = child
        parent = child
    return parent


def _invalid(description: str) -> SetRejectedError:
    return SetRejectedError(SetError(type="invalidPatch", description=description))
