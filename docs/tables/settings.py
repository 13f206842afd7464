"""docs/settings.md: every variable that a program of this repository reads."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect as types

from docs.tables.markdown import WRITTEN, code, table
from docs.tables.source import meanings_of
from services.cli.settings import DECLARED
from shared.runtime.settings import Secret

_CUSTOM: Mapping[type, str] = {Path: "path", Secret: "secret"}
_SHORT = 1e6  # of which a number is written by `g` in full

_HEAD = f"""# Settings

{WRITTEN}

Environment variables, and nothing else. One that is empty counts as not set; one that is unknown,
ill-typed or out of range stops the start, with a line that names it. A list is written with commas.
"""


def settings_page() -> str:
    return _HEAD + "".join(_sections())


def _sections() -> list[str]:
    sections: list[str] = []
    seen: set[str] = set()
    for prefix, struct in DECLARED:
        meanings = meanings_of(struct)
        rows = []
        for field in msgspec.structs.fields(struct):
            variable = prefix + field.name.upper()
            if variable not in seen:
                seen.add(variable)
                rows.append(
                    [
                        code(variable),
                        _type_text(field.type),
                        _default_text(field),
                        _sentence(meanings[field.name]),
                    ]
                )
        if rows:
            heads = ("variable", "type", "default", "meaning")
            sections.append(f"\n## {_title_of(struct)}\n\n{table(heads, rows)}")
    return sections


def _title_of(struct: type[msgspec.Struct]) -> str:
    """The first line of its text, which begins with the prefix."""
    title = (inspect.getdoc(struct) or "").partition("\n")[0].partition(": ")[2].rstrip(".")
    return title[:1].upper() + title[1:]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""


def _type_text(annotation: Any) -> str:  # noqa: ANN401 - an annotation
    return _text(types.type_info(annotation))


def _text(info: types.Type) -> str:
    match info:
        case types.UnionType(types=members):
            return " or ".join(_text(one) for one in members if not isinstance(one, types.NoneType))
        case types.LiteralType(values=values):
            return " or ".join(code(str(value)) for value in values)
        case types.VarTupleType(item_type=item):
            return f"list of {_text(item)}"
        case types.CustomType(cls=class_):
            return _CUSTOM.get(class_, "text")
        case types.IntType() | types.FloatType():
            return _number(info)
        case _:
            return "`true` or `false`" if isinstance(info, types.BoolType) else "text"


def _number(info: types.IntType | types.FloatType) -> str:
    name = "whole number" if isinstance(info, types.IntType) else "number"
    bounds = [
        f"{words} {bound:g}" if bound < _SHORT else f"{words} {bound}"
        for words, bound in (("above", info.gt), ("at least", info.ge), ("at most", info.le))
        if bound is not None
    ]
    return ", ".join([name, *bounds])


def _default_text(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "must be set"
    default = field.default
    if default is None or default in ("", ()):
        return "none"
    if isinstance(default, bool):
        return code(str(default).lower())
    if isinstance(default, Sequence) and not isinstance(default, str):
        return code(",".join(map(str, default)))
    return code(str(default))
