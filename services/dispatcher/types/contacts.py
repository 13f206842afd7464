"""JMAP for Contacts (RFC 9610): AddressBook and ContactCard."""

import hashlib
import uuid
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.dispatcher.methods.declaration import (
    Change,
    Container,
    DateFilter,
    DeclaredType,
    DefaultFlag,
    IdText,
    QueryRules,
    Rule,
    Sort,
    Viewer,
    Yes,
    properties_of,
)
from services.dispatcher.types.jscontact import Card
from shared.jmap.errors import SetError
from shared.jmap.i_json import JsonObject, JsonValue
from shared.jmap.ids import utc_date
from shared.jmap.session import Capability

CONTACTS = "urn:ietf:params:jmap:contacts"

CAPABILITY = Capability(
    urn=CONTACTS,
    session={},
    account={"maxAddressBooksPerCard": None, "mayCreateAddressBook": True},
    account_read_only={"maxAddressBooksPerCard": None, "mayCreateAddressBook": False},
)

_NAME_BYTES_MAX = 255


class AddressBook(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """RFC 9610 section 2, as a client sees it."""

    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    sort_order: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    is_default: Annotated[bool, Rule(server_set=True)] = False
    is_subscribed: bool = True  # for who creates it; of the user, not of the record
    share_with: dict[IdText, JsonObject] | None = None
    my_rights: Annotated[JsonObject | UnsetType, Rule(server_set=True)] = UNSET


class ContactCard(Card, frozen=True, kw_only=True, rename="camel"):
    """RFC 9610 section 3: a JSContact card that is in at least one address book."""

    address_book_ids: Annotated[
        dict[IdText, Yes], Meta(min_length=1), Rule(references="AddressBook")
    ]


def _view_address_book(stored: JsonObject, viewer: Viewer) -> JsonObject:
    subscribers = stored.get("isSubscribed")
    subscribed = subscribers.get(viewer.user_id) if isinstance(subscribers, dict) else None
    # Section 2: false by default in shared accounts, true for what the user made or owns.
    return {
        **stored,
        "isSubscribed": viewer.role == "owner" if subscribed is None else subscribed,
        "shareWith": _share_with(viewer),
        "myRights": _rights(viewer.role),
    }


def _store_address_book(change: Change, before: JsonObject | None) -> JsonObject:
    subscribers = {} if before is None else before.get("isSubscribed")
    computed = {"shareWith", "myRights"}
    stored = {name: value for name, value in change.after.items() if name not in computed}
    known = subscribers if isinstance(subscribers, dict) else {}
    if "isSubscribed" in change.touched or before is None:
        known = {**known, change.viewer.user_id: change.after["isSubscribed"]}
    stored["isSubscribed"] = known
    return stored


def _refuse_address_book(change: Change) -> SetError | None:
    """Sharing follows the grants of the account, so nobody has the right `mayShare`."""
    shared = _share_with(change.viewer)
    if "shareWith" in change.touched and change.after["shareWith"] != shared:
        return SetError(type="forbidden", description="An account is shared by grants, as a whole.")
    name = change.after["name"]
    if isinstance(name, str) and len(name.encode()) > _NAME_BYTES_MAX:
        return SetError(
            type="invalidProperties",
            description=f"name: more than {_NAME_BYTES_MAX} octets.",
            properties=["name"],
        )
    return None


def _share_with(viewer: Viewer) -> JsonValue:
    return {user_id: _rights(role) for user_id, role in viewer.shares.items()} or None


def _rights(role: str) -> JsonObject:
    may_write = role != "read"
    return {
        "mayRead": True,
        "mayWrite": may_write,
        "mayShare": False,
        "mayDelete": may_write,
    }


def _store_card(change: Change, before: JsonObject | None) -> JsonObject:
    """Creation and change have a time, unless the client gave its own (RFC 9553 2.1.3, 2.1.10)."""
    now = utc_date(change.viewer.now)
    stored = dict(change.after)
    if before is None:
        stored.setdefault("created", now)
    stored.setdefault("uid", _uid(change.record_id))
    if "updated" not in change.touched or "updated" not in stored:
        stored["updated"] = now
    return stored


def _uid(record_id: str) -> str:
    digest = hashlib.sha256(record_id.encode()).digest()
    return uuid.UUID(bytes=digest[:16], version=4).urn


_QUERY = QueryRules(
    values={
        "inAddressBook": "addressBookIds/keys",
        "uid": "uid",
        "hasMember": "members/keys",
        "kind": "kind",
    },
    texts={
        "name": ("name/components/*/value", "name/full"),
        "name/given": ("name/components/kind=given/value",),
        "name/surname": ("name/components/kind=surname/value",),
        "name/surname2": ("name/components/kind=surname2/value",),
        "nickname": ("nicknames/*/name",),
        "organization": ("organizations/*/name",),
        "email": ("emails/*/address", "emails/*/label"),
        "phone": ("phones/*/number", "phones/*/label"),
        "onlineService": (
            "onlineServices/*/service",
            "onlineServices/*/uri",
            "onlineServices/*/user",
            "onlineServices/*/label",
        ),
        "address": ("addresses/*/components/*/value", "addresses/*/full"),
        "note": ("notes/*/note",),
    },
    dates={
        "createdBefore": DateFilter("created", is_before=True),
        "createdAfter": DateFilter("created", is_before=False),
        "updatedBefore": DateFilter("updated", is_before=True),
        "updatedAfter": DateFilter("updated", is_before=False),
    },
    sorts={
        "created": Sort("created", is_text=False),
        "updated": Sort("updated", is_text=False),
        "name/given": Sort("name/components/kind=given/value", is_text=True),
        "name/surname": Sort("name/components/kind=surname/value", is_text=True),
        "name/surname2": Sort("name/components/kind=surname2/value", is_text=True),
    },
)

ADDRESS_BOOK = DeclaredType(
    name="AddressBook",
    capability=CONTACTS,
    id_prefix="b",
    properties=properties_of(AddressBook),
    is_viewed_as_stored=False,
    view=_view_address_book,
    store=_store_address_book,
    refuse=_refuse_address_book,
    container=Container(
        member_type="ContactCard",
        member_property="addressBookIds",
        argument="onDestroyRemoveContents",
        error="addressBookHasContents",
    ),
    default_flag=DefaultFlag(property="isDefault", argument="onSuccessSetIsDefault"),
)

CONTACT_CARD = DeclaredType(
    name="ContactCard",
    capability=CONTACTS,
    id_prefix="c",
    properties=properties_of(ContactCard),
    keeps_unknown=True,
    store=_store_card,
    query=_QUERY,
    blobs="media/*/blobId",
    images="media/kind=photo/blobId",
    inline_media="media",
)
