"""JMAP for Contacts (RFC 9610): AddressBook and ContactCard."""

import hashlib
import uuid
from collections.abc import Mapping
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
    Sharing,
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
from shared.jmap.subscription import IS_SUBSCRIBED, is_subscribed

CONTACTS = "urn:ietf:params:jmap:contacts"

CAPABILITY = Capability(
    urn=CONTACTS,
    session={},
    account={"maxAddressBooksPerCard": None, "mayCreateAddressBook": True},
    account_read_only={"maxAddressBooksPerCard": None, "mayCreateAddressBook": False},
)

_NAME_BYTES_MAX = 255
_SHARES_MAX = 1000  # principals


class AddressBookRights(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """RFC 9610 section 2."""

    may_read: bool = False
    may_write: bool = False
    may_share: bool = False
    may_delete: bool = False


class AddressBook(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """RFC 9610 section 2, as a client sees it."""

    name: Annotated[str, Meta(min_length=1)]
    description: str | None = None
    sort_order: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    is_default: Annotated[bool, Rule(server_set=True)] = False
    is_subscribed: Annotated[bool, Rule(per_user=True)] = True
    share_with: Annotated[dict[IdText, AddressBookRights], Meta(max_length=_SHARES_MAX)] | None = (
        None
    )
    my_rights: Annotated[AddressBookRights | UnsetType, Rule(server_set=True)] = UNSET


class ContactCard(Card, frozen=True, kw_only=True, rename="camel"):
    """RFC 9610 section 3: a JSContact card that is in at least one address book."""

    address_book_ids: Annotated[
        dict[IdText, Yes], Meta(min_length=1), Rule(references="AddressBook")
    ]


def _view_address_book(stored: JsonObject, viewer: Viewer) -> JsonObject:
    return {
        **stored,
        IS_SUBSCRIBED: is_subscribed(stored, viewer.user_id),
        "shareWith": {user_id: _rights(role) for user_id, role in viewer.shares.items()} or None,
        "myRights": _rights(viewer.role),
    }


def _store_address_book(change: Change, before: JsonObject | None) -> JsonObject:
    said = {} if before is None else before.get(IS_SUBSCRIBED)
    computed = {"shareWith", "myRights"}
    stored = {name: value for name, value in change.after.items() if name not in computed}
    known = said if isinstance(said, dict) else {}
    if IS_SUBSCRIBED in change.touched or before is None:
        known = {**known, change.viewer.user_id: change.after[IS_SUBSCRIBED]}
    stored[IS_SUBSCRIBED] = known
    return stored


def _refuse_address_book(change: Change) -> SetError | None:
    name = change.after["name"]
    if isinstance(name, str) and len(name.encode()) > _NAME_BYTES_MAX:
        return _invalid("name", f"more than {_NAME_BYTES_MAX} octets.")
    return _refuse_sharing(change) if "shareWith" in change.touched else None


def _refuse_sharing(change: Change) -> SetError | None:
    """What can be said without the other address books and the users; see `Sharing`."""
    viewer, wanted = change.viewer, change.after["shareWith"]
    given = wanted if isinstance(wanted, dict) else {}
    wrong = [user_id for user_id, rights in given.items() if _granted(rights) not in _ROLES]
    if wrong:
        return _invalid(
            "shareWith",
            f"{', '.join(sorted(wrong)[:5])}: give mayRead, or mayRead, mayWrite and mayDelete;"
            " mayShare is the owner's alone.",
        )
    if _roles(wanted) == viewer.shares:
        return None
    if viewer.role != "owner":
        return SetError(type="forbidden", description="You have not the right mayShare.")
    if viewer.owners & set(given):
        return _invalid("shareWith", "who owns the account has all rights, and is not in it.")
    return None


def _invalid(name: str, why: str) -> SetError:
    return SetError(type="invalidProperties", description=f"{name}: {why}", properties=[name])


_ROLES = {
    frozenset({"mayRead"}): "read",
    frozenset({"mayRead", "mayWrite", "mayDelete"}): "write",
}


def _granted(rights: JsonValue) -> frozenset[str]:
    members = rights.items() if isinstance(rights, dict) else ()
    return frozenset(name for name, value in members if value is True)


def _roles(share_with: JsonValue) -> Mapping[str, str]:
    """User -> role; null is nobody."""
    members = share_with.items() if isinstance(share_with, dict) else ()
    return {user_id: _ROLES[_granted(rights)] for user_id, rights in members}


def _rights(role: str) -> JsonObject:
    may_write = role != "read"
    return {
        "mayRead": True,
        "mayWrite": may_write,
        "mayShare": role == "owner",
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
    sharing=Sharing(property="shareWith", roles=_roles),
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
