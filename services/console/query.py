"""What a query asks for, within bounds; no I/O."""

from collections.abc import Mapping, Sequence

from services.console.endpoints import Parameter
from services.console.refusals import Refusal

_CHARACTERS_MAX = 300
_VALUES_MAX = 50


class Query:
    """Of declared parameters alone. Everything raises Refusal."""

    def __init__(self, items: Sequence[tuple[str, str]], parameters: Sequence[Parameter]) -> None:
        kinds = {parameter.name: parameter.kind for parameter in parameters}
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            kind = kinds.get(name)
            if kind is None:
                known = ", ".join(kinds) or "none"
                raise Refusal(400, f"There is no parameter {name[:40]!r} here, but: {known}.")
            values = self._values.setdefault(name, [])
            if values and kind != "many":
                raise Refusal(400, f"{name} is given twice.")
            if len(values) >= _VALUES_MAX:
                raise Refusal(400, f"{name} is given more than {_VALUES_MAX} times.")
            values.append(plain(name, value))

    def text(self, name: str) -> str | None:
        """None where it is not given, or empty."""
        return next(iter(self._values.get(name, ())), None) or None

    def many(self, name: str) -> list[str] | None:
        return [value for value in self._values.get(name, ()) if value] or None

    def number(self, name: str, *, default: int, maximum: int, minimum: int = 1) -> int:
        text = self.text(name)
        if text is None:
            return default
        is_number = text.isascii() and text.isdecimal() and len(text) < 10  # noqa: PLR2004
        if not is_number or not minimum <= int(text) <= maximum:
            raise Refusal(400, f"{name} is a number from {minimum} to {maximum}.")
        return int(text)

    def choice(self, name: str, choices: Mapping[str, str] | Sequence[str]) -> str | None:
        text = self.text(name)
        if text is not None and text not in choices:
            raise Refusal(400, f"{name} is one of: {', '.join(choices)}.")
        return text


def plain(name: str, value: str) -> str:
    """Fit for a database and a log. Raises Refusal."""
    if len(value) > _CHARACTERS_MAX or not value.isprintable():
        raise Refusal(400, f"{name} has at most {_CHARACTERS_MAX} characters, all printable.")
    return value
