"""Principals (RFC 9670 section 2): as objects, filtered, sorted, cut into pages."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias, assert_never

import msgspec
from msgspec import field

from services.dispatcher.methods.query import (
    ASCII_CASEMAP,
    UNICODE_CASEMAP,
    Comparator,
    QueryArguments,
    condition_count,
    first_position,
)
from services.dispatcher.methods.text import ascii_casemap, unicode_casemap
from shared.jmap.errors import MethodError, invalid_arguments
from shared.jmap.i_json import JsonObject, JsonValue, encode_json

_CONDITIONS_MAX = 100
_COMPARATORS_MAX = 10


class Principal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A person, of whom no more is known than the name; RFC 9610 has no capability to say."""

    id: str
    type: str = "individual"
    name: str
    description: str | None = None
    email: str | None = None
    time_zone: str | None = None
    capabilities: JsonObject = field(default_factory=dict)
    accounts: JsonObject | None = None  # that belong to it, and that the viewer may use


PROPERTIES = frozenset(item.encode_name for item in msgspec.structs.fields(Principal))

_TEXTS: Mapping[str, tuple[str, ...]] = {
    "name": ("name",),
    "email": ("email",),
    "text": ("name", "email", "description"),
}
_VALUES: Mapping[str, str] = {"type": "type", "timeZone": "time_zone"}


class Operator(msgspec.Struct, frozen=True):
    """AND of nothing is true, OR of nothing false, NOT of nothing true."""

    operator: Literal["AND", "OR", "NOT"]
    conditions: tuple["Condition", ...]


class Contains(msgspec.Struct, frozen=True):
    """The condition `name` on texts: any of its properties has `text` in it, in any case."""

    name: str
    text: str


class Equals(msgspec.Struct, frozen=True):
    """The attribute is the value."""

    attribute: str
    value: str


class OwnsAny(msgspec.Struct, frozen=True):
    """Any of the accounts is the Principal's."""

    account_ids: frozenset[str]


Condition: TypeAlias = Operator | Contains | Equals | OwnsAny


def parse_filter(given: JsonObject | None) -> Condition:
    """Raises MethodError: invalidArguments, unsupportedFilter."""
    if condition_count(given) > _CONDITIONS_MAX:
        raise MethodError("unsupportedFilter", f"More than {_CONDITIONS_MAX} conditions.")
    return _condition({} if given is None else given)


def is_match(condition: Condition, principal: Principal) -> bool:
    match condition:
        case Operator(operator, inner):
            found = (is_match(item, principal) for item in inner)
            if operator == "AND":
                return all(found)
            return any(found) if operator == "OR" else not any(found)
        case Contains(name, text):
            values = (getattr(principal, attribute) for attribute in _TEXTS[name])
            return any(text.casefold() in value.casefold() for value in values if value is not None)
        case Equals(attribute, value):
            return bool(getattr(principal, attribute) == value)
        case OwnsAny(account_ids):
            return not account_ids.isdisjoint(principal.accounts or ())
        case _:
            assert_never(condition)


def exact_names(condition: Condition) -> set[str]:
    """The names that the filter gives: whoever is called exactly so may be found by it."""
    match condition:
        case Operator(_, inner):
            return {name for item in inner for name in exact_names(item)}
        case Contains("name" | "text", text):
            return {text}
        case _:
            return set()


def parse_sort(given: Sequence[JsonObject] | None) -> list[Comparator]:
    """By name alone. Raises MethodError: invalidArguments, unsupportedSort."""
    if len(given or ()) > _COMPARATORS_MAX:
        raise MethodError("unsupportedSort", f"More than {_COMPARATORS_MAX} comparators.")
    comparators = []
    for item in given or ():
        try:
            comparator = msgspec.convert(item, Comparator)
        except msgspec.ValidationError as error:
            raise invalid_arguments(f"sort: {error}", "sort") from error
        if comparator.property != "name":
            raise MethodError("unsupportedSort", f"Not by {comparator.property[:100]!r}.")
        if comparator.collation not in (None, UNICODE_CASEMAP, ASCII_CASEMAP):
            raise MethodError("unsupportedSort", f"No collation {comparator.collation[:100]!r}.")
        comparators.append(comparator)
    return comparators


def in_order(principals: Sequence[Principal], sort: Sequence[Comparator]) -> list[Principal]:
    """Those that the sort calls equal stand by their ids, so that the order is stable."""
    ordered = sorted(principals, key=lambda principal: (principal.name, principal.id))
    for comparator in reversed(sort):
        casemap = ascii_casemap if comparator.collation == ASCII_CASEMAP else unicode_casemap
        keys = {principal.id: casemap(principal.name) for principal in ordered}
        ordered.sort(key=lambda item: keys[item.id], reverse=not comparator.is_ascending)
    return ordered


def page(ids: Sequence[str], arguments: QueryArguments, ids_max: int) -> tuple[int, list[str]]:
    """The position of the first id and the ids (RFC 8620 section 5.5).

    Raises MethodError (anchorNotFound).
    """
    position = first_position(arguments.position, len(ids))
    if arguments.anchor is not None:
        if arguments.anchor not in ids:
            raise MethodError("anchorNotFound")
        position = max(ids.index(arguments.anchor) + arguments.anchor_offset, 0)
    limit = ids_max if arguments.limit is None else min(arguments.limit, ids_max)
    return position, list(ids[position : position + limit])


def state_of(principals: Sequence[Principal]) -> str:
    """A digest of all that a user sees without asking for a name: it moves with nothing else."""
    return f"p{hashlib.sha256(encode_json(list(principals))).hexdigest()[:24]}"


def _condition(given: JsonValue) -> Condition:
    if not isinstance(given, dict):
        raise invalid_arguments("A filter is an object.", "filter")
    match given:
        case {"operator": "AND" | "OR" | "NOT" as operator, "conditions": list(inner)} if (
            len(given) == 2  # noqa: PLR2004 - these two members
        ):
            return Operator(operator, tuple(_condition(item) for item in inner))
        case {"operator": _}:
            raise invalid_arguments(
                "A FilterOperator has operator (AND, OR or NOT) and conditions.", "filter"
            )
        case _:
            return Operator("AND", tuple(_property(name, value) for name, value in given.items()))


def _property(name: str, value: JsonValue) -> Condition:
    if name == "accountIds":
        try:
            return OwnsAny(frozenset(msgspec.convert(value, list[str])))
        except msgspec.ValidationError as error:
            raise invalid_arguments(f"filter: accountIds: {error}", "filter") from error
    if name not in _TEXTS and name not in _VALUES:
        raise MethodError("unsupportedFilter", f"There is no condition {name[:100]!r}.")
    if not isinstance(value, str):
        raise invalid_arguments(f"filter: {name} must be a string.", "filter")
    return Contains(name, value) if name in _TEXTS else Equals(_VALUES[name], value)
