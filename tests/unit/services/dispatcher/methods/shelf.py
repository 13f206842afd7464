"""A small declared type for the tests of the methods: shelves hold shelves and have labels."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from services.dispatcher.methods.arguments import SetArguments
from services.dispatcher.methods.declaration import (
    Change,
    Container,
    DateFilter,
    DeclaredType,
    DefaultFlag,
    QueryRules,
    Rule,
    Sort,
    Viewer,
    Yes,
    properties_of,
)
from services.dispatcher.methods.set import Drafter, Drafts
from shared.jmap.errors import SetError
from shared.jmap.i_json import JsonObject

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VIEWER = Viewer(user_id="u1", role="owner", shares={}, now=NOW)


class Shelf(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: Annotated[str, Meta(min_length=1)]
    label: Annotated[str | UnsetType, Rule(unique=True)] = UNSET
    parent_id: Annotated[str | None, Rule(references="Shelf")] = None
    room_ids: Annotated[dict[str, Yes], Rule(references="Room")] = field(default_factory=dict)
    maker: Annotated[str | None, Rule(immutable=True)] = None
    is_default: Annotated[bool, Rule(server_set=True)] = False
    seen: bool = False
    picture: str | UnsetType = UNSET
    made: str | UnsetType = UNSET


def _refuse(change: Change) -> SetError | None:
    return SetError(type="forbidden") if change.after["name"] == "forbidden" else None


def _store(change: Change, before: JsonObject | None) -> JsonObject:
    counted = 0 if before is None else before["writes"]
    assert isinstance(counted, int)
    return {**change.after, "writes": counted + 1}


def _view(stored: JsonObject, _: Viewer) -> JsonObject:
    return {name: value for name, value in stored.items() if name != "writes"}


SHELF = DeclaredType(
    name="Shelf",
    capability="x:shelves",
    id_prefix="s",
    properties=properties_of(Shelf),
    is_viewed_as_stored=False,
    view=_view,
    store=_store,
    refuse=_refuse,
    container=Container(
        member_type="Shelf", member_property="parentId", argument="empty", error="shelfHasShelves"
    ),
    default_flag=DefaultFlag(property="isDefault", argument="onSuccess"),
    query=QueryRules(
        values={"label": "label", "inRoom": "roomIds/keys"},
        texts={"name": ("name",)},
        dates={"madeBefore": DateFilter("made", is_before=True)},
        sorts={"name": Sort("name", is_text=True), "made": Sort("made", is_text=False)},
    ),
    blobs="picture",
    images="picture",
)


OPEN = DeclaredType(
    name="Open",
    capability="x",
    id_prefix="o",
    properties=properties_of(Shelf),
    keeps_unknown=True,
)


def stored(name: str, **more: Any) -> JsonObject:
    plain: JsonObject = {
        "parentId": None,
        "roomIds": {},
        "maker": None,
        "isDefault": False,
        "seen": False,
    }
    return {"name": name, **plain, "writes": 1, **more}


def draft(
    records: dict[str, JsonObject] | None = None,
    *,
    declared: DeclaredType = SHELF,
    created_ids: dict[str, str] | None = None,
    **arguments: Any,
) -> Drafts:
    numbers = iter(range(1, 100))
    drafter = Drafter(
        declared,
        records or {},
        viewer=VIEWER,
        created_ids=created_ids or {},
        new_id=lambda: f"s{next(numbers)}",
    )
    return drafter.draft(SetArguments(account_id="a", **arguments))
