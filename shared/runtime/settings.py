"""Settings from the environment: a frozen Struct per process, a variable per field."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from shared.runtime.errors import CouldNotStartError

T = TypeVar("T", bound=msgspec.Struct)

PREFIX = "TIDINGS_"


class Secret(str):
    """Hides itself in `repr`, so in logged settings; not in an f-string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(***)"


class SettingsError(CouldNotStartError):
    """A variable that does not fit; the text names it."""


def settings_from(environ: Mapping[str, str], prefix: str, type_: type[T]) -> T:
    """Convert the variables that `type_` declares; an empty one counts as not set.

    Several Structs may share a prefix, so other variables are not looked at here: `refuse_unknown`
    does that once, for all Structs of a process. A field of a tuple type is a list with commas.

    Raises:
        SettingsError: one is missing, ill-typed or out of range.
    """
    raw: dict[str, object] = {}
    for field in msgspec.structs.fields(type_):
        text = environ.get(prefix + field.name.upper(), "")
        if text:
            raw[field.name] = _split(text) if _is_list(field.type) else text
    try:
        return msgspec.convert(raw, type_, strict=False, dec_hook=_convert)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(str(error), prefix, type_)) from None


def refuse_unknown(
    environ: Mapping[str, str], declared: Iterable[tuple[str, type[msgspec.Struct]]]
) -> None:
    """Stop the start where a `TIDINGS_` variable belongs to no (prefix, Struct) of `declared`.

    Raises:
        SettingsError: names the variable, and the one it resembles.
    """
    known = {
        prefix + field.name.upper()
        for prefix, type_ in declared
        for field in msgspec.structs.fields(type_)
    }
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "remove it."
            raise SettingsError(f"{name} is not a setting of Tidings: {hint}")


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_list(type_: Any) -> bool:  # noqa: ANN401 - an annotation
    return isinstance(
        msgspec.inspect.type_info(type_), msgspec.inspect.VarTupleType | msgspec.inspect.ListType
    )


def _convert(type_: type[Any], value: object) -> object:
    return type_(value)


def _explain(message: str, prefix: str, type_: type[msgspec.Struct]) -> str:
    """Msgspec's message, with the variable for the field."""
    problem, _, path = message.partition(" - at `$.")
    name = path.partition("`")[0].partition("[")[0]
    if name:
        return f"{prefix}{name.upper()}: {problem[0].lower()}{problem[1:]}."
    for field in msgspec.structs.fields(type_):
        if f"`{field.name}`" in message:
            return f"{prefix}{field.name.upper()} must be set."
    return f"{prefix}…: {message}."
