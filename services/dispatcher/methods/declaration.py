"""What a data type declares, and from which the standard methods follow.

A type is a frozen msgspec Struct: a field is a property, its annotation is its type, its default
is the property's default (UNSET: may be absent), and a `Rule` in the annotation says the rest.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, TypeAlias, get_args, get_type_hints

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shared.jmap.errors import SetError
from shared.jmap.i_json import INT_MAX, JsonObject, JsonValue
from shared.jmap.ids import is_utc_date

IdText: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,255}$")]
UnsignedInt: TypeAlias = Annotated[int, Meta(ge=0, le=INT_MAX)]


class Yes:
    """The value true: the values of a set written as an object (RFC 8620, `Id[Boolean]`)."""


class UtcDate(str):
    """A UTCDate (RFC 8620 section 1.4)."""

    __slots__ = ()


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a property's type cannot say."""

    immutable: bool = False
    server_set: bool = False
    references: str | None = None  # a type: the value is an Id of it, or Id[Boolean]
    unique: bool = False  # no two records of an account have the same value
    per_user: bool = False  # each user has an own value, who may only read too


class Property(msgspec.Struct, frozen=True, kw_only=True):
    """One property of a declared type."""

    name: str
    type: object
    default: JsonValue | UnsetType  # UNSET: none
    is_required: bool
    rule: Rule


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks at an account: what is computed per user depends on nothing else."""

    user_id: str
    role: str
    shares: Mapping[str, str]  # the other users who hold a grant -> role
    now: datetime
    owners: frozenset[str] = frozenset()

    @property
    def may_write(self) -> bool:
        return self.role != "read"


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """Records of another type belong to records of this one, and go with the last of them."""

    member_type: str
    member_property: str  # an Id[Boolean] that references this type
    argument: str  # of /set: destroy although there are members
    error: str  # SetError without it


class DefaultFlag(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the account is the default one."""

    property: str
    argument: str  # of /set: the id that becomes the default


class Sharing(msgspec.Struct, frozen=True, kw_only=True):
    """An account is shared as a whole: the property has one value in all its records.

    `roles` reads a value that `refuse` let pass: user -> role.
    """

    property: str
    roles: Callable[[JsonValue], Mapping[str, str]]


class DateFilter(msgspec.Struct, frozen=True):
    """A condition on a UTCDate property: before a date, or not before it."""

    property: str
    is_before: bool


class Sort(msgspec.Struct, frozen=True):
    """The first value found at `path` orders the records; text by a collation, dates by time."""

    path: str
    is_text: bool


class QueryRules(msgspec.Struct, frozen=True, kw_only=True):
    """What /query filters and sorts by; the index columns follow from it.

    A path names members with `/`; `*` is each member, and `name=value` each member that has it.
    """

    values: Mapping[str, str]  # condition -> path: equal to any value there, or name of a member
    texts: Mapping[str, tuple[str, ...]]  # condition -> paths: words in any text there
    dates: Mapping[str, DateFilter]
    sorts: Mapping[str, Sort]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A create (`before` None) or update as the client asked for it, in the client's view."""

    record_id: str
    before: JsonObject | None
    after: JsonObject
    touched: frozenset[str]
    viewer: Viewer


def _identity(stored: JsonObject, _: Viewer) -> JsonObject:
    return stored


def _as_asked(change: Change, _: JsonObject | None) -> JsonObject:
    return change.after


def _no_objection(_: Change) -> SetError | None:
    return None


class DeclaredType(msgspec.Struct, frozen=True, kw_only=True):
    """A data type. The callables are pure."""

    name: str
    capability: str
    id_prefix: str
    properties: Mapping[str, Property]
    keeps_unknown: bool = False
    is_viewed_as_stored: bool = True
    view: Callable[[JsonObject, Viewer], JsonObject] = _identity
    store: Callable[[Change, JsonObject | None], JsonObject] = _as_asked
    refuse: Callable[[Change], SetError | None] = _no_objection
    container: Container | None = None
    default_flag: DefaultFlag | None = None
    sharing: Sharing | None = None
    query: QueryRules | None = None
    blobs: str | None = None  # path to the blob ids that a record refers to
    images: str | None = None  # path to those of them that must be images
    inline_media: str | None = None  # property whose members have a uri, or a blobId instead

    @property
    def defaults(self) -> Mapping[str, JsonValue]:
        return {
            item.name: item.default
            for item in self.properties.values()
            if not isinstance(item.default, UnsetType)
        }

    @property
    def references(self) -> Mapping[str, str]:
        """Property -> the type whose ids it holds."""
        return {
            item.name: item.rule.references
            for item in self.properties.values()
            if item.rule.references is not None
        }

    @property
    def per_user(self) -> frozenset[str]:
        """The properties of which each user has an own value."""
        return frozenset(item.name for item in self.properties.values() if item.rule.per_user)

    def may_name(self, name: str) -> bool:
        """Whether a client may ask for the property: declared, or a vendor's (`vendor:name`)."""
        return name == "id" or name in self.properties or (self.keeps_unknown and ":" in name)


def properties_of(struct: type[msgspec.Struct]) -> Mapping[str, Property]:
    """Name -> property, in the order of declaration."""
    hints = get_type_hints(struct, include_extras=True)
    return {
        field.encode_name: Property(
            name=field.encode_name,
            type=hints[field.name],
            default=_default(field),
            is_required=field.required,
            rule=_rule(hints[field.name]),
        )
        for field in msgspec.structs.fields(struct)
    }


def invalid_value(item: Property, value: JsonValue) -> str | None:
    """Why the property cannot have the value, or None."""
    try:
        msgspec.convert(value, item.type, dec_hook=_from_json)
    except msgspec.ValidationError as error:
        return f"{item.name}: {error}"
    return None


def _default(field: msgspec.structs.FieldInfo) -> JsonValue | UnsetType:
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    if default is msgspec.NODEFAULT or default is UNSET:
        return UNSET
    value: JsonValue = msgspec.to_builtins(default)
    return value


def _rule(hint: object) -> Rule:
    return next((item for item in get_args(hint) if isinstance(item, Rule)), Rule())


def _from_json(type_: type, value: object) -> object:
    if type_ is Yes and value is True:
        return Yes()
    if type_ is UtcDate and is_utc_date(value):
        return UtcDate(value)
    wanted = "true" if type_ is Yes else "a UTCDate"
    raise ValueError(f"Expected {wanted}")
