"""/query and /queryChanges (RFC 8620 sections 5.5 and 5.6): filters and sorts, from JSON to SQL."""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, assert_never

import msgspec
from msgspec import Meta

from services.dispatcher.methods.arguments import Arguments
from services.dispatcher.methods.declaration import DeclaredType, QueryRules
from services.dispatcher.methods.text import Search, date_key, parse_search
from shared.jmap.errors import MethodError, invalid_arguments
from shared.jmap.i_json import INT_MAX, JsonObject, JsonValue
from shared.jmap.ids import is_utc_date

_CONDITIONS_MAX = 100
_COMPARATORS_MAX = 10

UNICODE_CASEMAP = "i;unicode-casemap"
ASCII_CASEMAP = "i;ascii-casemap"

_Int: TypeAlias = Annotated[int, Meta(ge=-INT_MAX, le=INT_MAX)]
_UnsignedInt: TypeAlias = Annotated[int, Meta(ge=0, le=INT_MAX)]


class Comparator(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`collation` None: the default one, or the property is no string."""

    property: str
    is_ascending: bool = True
    collation: str | None = None


class QueryArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 8620 section 5.5."""

    filter: JsonObject | None = None
    sort: list[JsonObject] | None = None
    position: _Int = 0
    anchor: str | None = None
    anchor_offset: _Int = 0
    limit: _UnsignedInt | None = None
    calculate_total: bool = False


class QueryChangesArguments(Arguments, frozen=True, kw_only=True, rename="camel"):
    """RFC 8620 section 5.6."""

    filter: JsonObject | None = None
    sort: list[JsonObject] | None = None
    since_query_state: str
    max_changes: _UnsignedInt | None = None
    up_to_id: str | None = None
    calculate_total: bool = False


class Operator(msgspec.Struct, frozen=True):
    """AND of nothing is true, OR of nothing false, NOT of nothing true."""

    operator: Literal["AND", "OR", "NOT"]
    conditions: tuple["Condition", ...]


class HasValue(msgspec.Struct, frozen=True):
    """The record's index has this value for this filter."""

    name: str
    value: str


class HasText(msgspec.Struct, frozen=True):
    """The text fields have every phrase; in which of the fields does not matter."""

    fields: tuple[str, ...]
    search: Search


class HasDate(msgspec.Struct, frozen=True):
    """`property` is there, and before `key`, or not before it."""

    property: str
    is_before: bool
    key: str


Condition: TypeAlias = Operator | HasValue | HasText | HasDate


def parse_filter(declared: DeclaredType, given: JsonObject | None) -> Condition:
    """Raises MethodError: invalidArguments, unsupportedFilter."""
    if condition_count(given) > _CONDITIONS_MAX:
        raise MethodError("unsupportedFilter", f"More than {_CONDITIONS_MAX} conditions.")
    return _condition(_rules(declared), {} if given is None else given)


def parse_sort(declared: DeclaredType, given: list[JsonObject] | None) -> list[Comparator]:
    """Raises MethodError: invalidArguments, unsupportedSort."""
    if len(given or ()) > _COMPARATORS_MAX:
        raise MethodError("unsupportedSort", f"More than {_COMPARATORS_MAX} comparators.")
    return [_comparator(_rules(declared), item) for item in given or ()]


def first_position(position: int, total: int) -> int:
    """A negative position counts from the end."""
    return max(position + total, 0) if position < 0 else position


def _rules(declared: DeclaredType) -> QueryRules:
    assert declared.query is not None  # noqa: S101 - else it has no such method
    return declared.query


def condition_count(given: JsonValue) -> int:
    """Of a filter, each operator and each property."""
    if not isinstance(given, dict):
        return 1
    inner = given.get("conditions")
    if "operator" not in given or not isinstance(inner, list):
        return max(len(given), 1)
    return 1 + sum(condition_count(item) for item in inner)


def _condition(rules: QueryRules, given: JsonValue) -> Condition:
    if not isinstance(given, dict):
        raise invalid_arguments("A filter is an object.", "filter")
    if "operator" in given:
        return _operator(rules, given)
    return Operator(
        "AND", tuple(_property_condition(rules, name, value) for name, value in given.items())
    )


def _operator(rules: QueryRules, given: JsonObject) -> Condition:
    match given:
        case {"operator": "AND" | "OR" | "NOT" as operator, "conditions": list(inner)} if (
            len(given) == 2  # noqa: PLR2004 - these two members
        ):
            return Operator(operator, tuple(_condition(rules, item) for item in inner))
        case _:
            raise invalid_arguments(
                "A FilterOperator has operator (AND, OR or NOT) and conditions.", "filter"
            )


def _property_condition(rules: QueryRules, name: str, value: JsonValue) -> Condition:
    known = name in rules.values or name in rules.texts or name in rules.dates or name == "text"
    if not known:
        raise MethodError("unsupportedFilter", f"There is no condition {name[:100]!r}.")
    if not isinstance(value, str):
        raise invalid_arguments(f"filter: {name} must be a string.", "filter")
    if name in rules.values:
        return HasValue(name, value)
    if name in rules.dates:
        if not is_utc_date(value):
            raise invalid_arguments(f"filter: {name} must be a UTCDate.", "filter")
        date = rules.dates[name]
        return HasDate(date.property, date.is_before, date_key(value))
    fields = tuple(rules.texts) if name == "text" else (name,)
    return HasText(fields, parse_search(value))


def _comparator(rules: QueryRules, given: JsonObject) -> Comparator:
    try:
        comparator = msgspec.convert(given, Comparator)
    except msgspec.ValidationError as error:
        raise invalid_arguments(f"sort: {error}", "sort") from error
    if comparator.property not in rules.sorts:
        raise MethodError("unsupportedSort", f"Not by {comparator.property[:100]!r}.")
    if not rules.sorts[comparator.property].is_text:
        return msgspec.structs.replace(comparator, collation=None)
    if comparator.collation not in (None, UNICODE_CASEMAP, ASCII_CASEMAP):
        raise MethodError("unsupportedSort", f"No collation {comparator.collation[:100]!r}.")
    return comparator


class Query(msgspec.Struct, frozen=True):
    """A filter and a sort as SQL: `where` and `order` with numbered parameters."""

    where: str
    order: str
    parameters: list[object]


class _Compiler:
    """Parameters are numbered from `first` on; nothing of the client's stands in the text."""

    def __init__(self, tags: Mapping[tuple[str, str], int], first: int) -> None:
        self.parameters: list[object] = []
        self._tags = tags
        self._first = first

    def compile(self, condition: Condition) -> str:
        match condition:
            case Operator():
                return self._operator(condition)
            case HasValue(name, value):
                return f"tags @> {self._next([self._tags[name, value]])}::bigint[]"
            case HasText():
                return self._text(condition)
            case HasDate(name, is_before, key):
                column = sort_column(name)
                compared = f'{column} < {self._next(key)}::text COLLATE "C"'
                return f"({column} <> '' AND {compared if is_before else f'NOT {compared}'})"
            case _:
                assert_never(condition)

    def _operator(self, condition: Operator) -> str:
        inner = [self.compile(item) for item in condition.conditions]
        match condition.operator:
            case "AND":
                return f"({' AND '.join(inner)})" if inner else "true"
            case "OR":
                return f"({' OR '.join(inner)})" if inner else "false"
            case "NOT":
                return f"NOT ({' OR '.join(inner)})" if inner else "true"
            case _:
                assert_never(condition.operator)

    def _text(self, condition: HasText) -> str:
        if condition.search.is_hopeless:
            return "false"
        found = [self._phrase(condition.fields, phrase) for phrase in condition.search.phrases]
        return f"({' AND '.join(found)})" if found else "true"

    def _phrase(self, fields: tuple[str, ...], phrase: tuple[str, ...]) -> str:
        """All its words in one field; for several words also side by side there."""
        either = []
        for name in fields:
            tags = sorted({self._tags[name, word] for word in phrase})
            part = f"tags @> {self._next(tags)}::bigint[]"
            if len(phrase) > 1:
                text = self._next(f" {' '.join(phrase)} ")
                part = f"({part} AND strpos(search->>{_literal(name)}, {text}::text) > 0)"
            either.append(part)
        return f"({' OR '.join(either)})"

    def _next(self, value: object) -> str:
        self.parameters.append(value)
        return f"${self._first + len(self.parameters) - 1}"


def tagged_values(condition: Condition) -> set[tuple[str, str]]:
    """What `compile_query` needs the tags of."""
    match condition:
        case Operator():
            return set().union(*(tagged_values(item) for item in condition.conditions))
        case HasValue(name, value):
            return {(name, value)}
        case HasText(fields, search):
            return {(name, word) for name in fields for phrase in search.phrases for word in phrase}
        case HasDate():
            return set()
        case _:
            assert_never(condition)


def compile_query(
    condition: Condition,
    sort: list[Comparator],
    tags: Mapping[tuple[str, str], int],
    *,
    first_parameter: int,
) -> Query:
    """Equal records stand in the order of their creation, or of the first comparator backwards."""
    compiler = _Compiler(tags, first_parameter)
    where = compiler.compile(condition)
    keys = [
        f"{sort_column(item.property, item.collation)} {'ASC' if item.is_ascending else 'DESC'}"
        for item in sort
    ]
    last = "DESC" if sort and not sort[0].is_ascending else "ASC"
    return Query(where, ", ".join([*keys, f"created_modseq {last}"]), compiler.parameters)


def sort_column(name: str, collation: str | None = None) -> str:
    """The expression that the indexes of the migration have, word for word."""
    key = f"{name};{ASCII_CASEMAP}" if collation == ASCII_CASEMAP else name
    return f'((sort->>{_literal(key)}) COLLATE "C")'


def _literal(name: str) -> str:
    """Names are the declaration's own; this keeps it so."""
    assert name.replace("/", "").replace(";", "").replace("-", "").isalnum()  # noqa: S101
    return f"'{name}'"
