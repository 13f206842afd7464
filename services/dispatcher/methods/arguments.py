"""The arguments of the standard methods; what is missing, unknown or ill-typed is refused."""

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from shared.jmap.errors import invalid_arguments
from shared.jmap.i_json import INT_MAX, JsonObject


class Arguments(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What every method of a data type has."""

    account_id: str


class GetArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 8620 section 5.1."""

    ids: list[str] | None = None
    properties: list[str] | None = None


class ChangesArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 8620 section 5.2."""

    since_state: str
    max_changes: Annotated[int, Meta(ge=1, le=INT_MAX)] | None = None


class SetArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 8620 section 5.3."""

    if_in_state: str | None = None
    create: dict[str, JsonObject] | None = None
    update: dict[str, JsonObject] | None = None
    destroy: list[str] | None = None

    @property
    def object_count(self) -> int:
        return len(self.create or ()) + len(self.update or ()) + len(self.destroy or ())


class CopyArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 8620 section 5.4."""

    from_account_id: str
    if_from_in_state: str | None = None
    if_in_state: str | None = None
    create: dict[str, JsonObject]
    on_success_destroy_original: bool = False
    destroy_from_if_in_state: str | None = None


T = TypeVar("T")


def read_arguments(arguments: JsonObject, type_: type[T]) -> T:
    """Raises MethodError (invalidArguments)."""
    try:
        return msgspec.convert(arguments, type_)
    except msgspec.ValidationError as error:
        raise invalid_arguments(str(error)) from error


def take_argument(arguments: JsonObject, name: str, type_: type[T]) -> tuple[T | None, JsonObject]:
    """An argument that only one type has, and the arguments without it; null when it is absent."""
    if arguments.get(name) is None:
        return None, {key: value for key, value in arguments.items() if key != name}
    try:
        value = msgspec.convert(arguments[name], type_)
    except msgspec.ValidationError as error:
        raise invalid_arguments(f"{name}: {error}", name) from error
    return value, {key: item for key, item in arguments.items() if key != name}
