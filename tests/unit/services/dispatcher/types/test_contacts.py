"""What the server adds to address books and cards (RFC 9610 sections 2 and 3)."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from services.dispatcher.methods.declaration import Change, Viewer
from services.dispatcher.types.contacts import ADDRESS_BOOK, CAPABILITY, CONTACT_CARD

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OWNER = Viewer(user_id="u1", role="owner", shares={"u2": "read"}, now=NOW, owners=frozenset({"u1"}))
READER = msgspec.structs.replace(OWNER, user_id="u2", role="read")
BOOK: Any = {"name": "N", "isDefault": True, "isSubscribed": {"u2": False, "u3": True}}
READ: Any = {"mayRead": True, "mayWrite": False, "mayShare": False, "mayDelete": False}
WRITE: Any = {"mayRead": True, "mayWrite": True, "mayShare": False, "mayDelete": True}


def change(after: Any, *touched: str, before: Any = None, viewer: Viewer = OWNER) -> Change:
    return Change(
        record_id="c1", before=before, after=after, touched=frozenset(touched), viewer=viewer
    )


def test_an_address_book_looks_different_to_everybody() -> None:
    owned, read = ADDRESS_BOOK.view(BOOK, OWNER), ADDRESS_BOOK.view(BOOK, READER)
    assert (owned["isSubscribed"], read["isSubscribed"]) == (True, False)
    rights: Any = (owned["myRights"], read["myRights"])
    assert [item["mayWrite"] for item in rights] == [True, False]
    assert [item["mayShare"] for item in rights] == [True, False]
    shared: Any = owned["shareWith"]
    assert list(shared) == ["u2"]
    alone = msgspec.structs.replace(OWNER, shares={})
    assert ADDRESS_BOOK.view(BOOK, alone)["shareWith"] is None
    third = msgspec.structs.replace(OWNER, user_id="u3", role="write")
    assert ADDRESS_BOOK.view({"name": "N"}, third)["isSubscribed"] is True
    assert ADDRESS_BOOK.view(BOOK, third)["isSubscribed"] is True


def test_a_subscription_is_of_the_user_who_changed_it() -> None:
    after = {**ADDRESS_BOOK.view(BOOK, OWNER), "isSubscribed": False}
    stored = ADDRESS_BOOK.store(change(after, "isSubscribed", before={}), BOOK)
    assert stored["isSubscribed"] == {"u1": False, "u2": False, "u3": True}
    assert not {"shareWith", "myRights"} & set(stored)
    assert ADDRESS_BOOK.store(change(after, "name", before={}), BOOK) == BOOK
    assert ADDRESS_BOOK.per_user == {"isSubscribed"}
    made = ADDRESS_BOOK.store(change({"name": "N", "isSubscribed": True}, "name"), None)
    assert made["isSubscribed"] == {"u1": True}


def refused(share_with: Any, viewer: Viewer = OWNER) -> str | None:
    wanted = {**ADDRESS_BOOK.view(BOOK, OWNER), "shareWith": share_with}
    error = ADDRESS_BOOK.refuse(change(wanted, "shareWith", before={}, viewer=viewer))
    if error is not None and error.type == "invalidProperties":
        assert error.properties == ["shareWith"]
    return None if error is None else error.type


def test_rights_are_those_of_a_grant() -> None:
    assert ADDRESS_BOOK.sharing is not None
    given: Any = {"u2": {"mayRead": True}, "u4": WRITE}
    assert ADDRESS_BOOK.sharing.roles(given) == {"u2": "read", "u4": "write"}
    assert ADDRESS_BOOK.sharing.roles(None) == {}
    assert refused(given) is None
    assert refused(None) is None


@pytest.mark.parametrize(
    "rights",
    [
        {},
        {"mayRead": False},
        {"mayWrite": True, "mayDelete": True},
        {"mayRead": True, "mayWrite": True},
        {"mayRead": True, "mayDelete": True},
        {**WRITE, "mayShare": True},
        {**READ, "mayShare": True},
    ],
)
def test_rights_that_no_grant_gives_are_refused(rights: Any) -> None:
    assert refused({"u4": rights}) == "invalidProperties"


def test_only_an_owner_shares_and_never_with_an_owner() -> None:
    assert refused({"u1": READ}) == "invalidProperties"
    assert refused({"u4": READ}, READER) == "forbidden"
    assert refused(None, msgspec.structs.replace(READER, role="write")) == "forbidden"
    assert refused({"u2": READ}, READER) is None  # as it is


def test_names_are_short() -> None:
    view = ADDRESS_BOOK.view(BOOK, OWNER)
    assert ADDRESS_BOOK.refuse(change({**view, "name": "é" * 127}, "name")) is None
    too_long = ADDRESS_BOOK.refuse(change({**view, "name": "é" * 128}, "name"))
    assert too_long is not None
    assert too_long.properties == ["name"]


def test_a_card_has_its_times_and_its_uid() -> None:
    made = CONTACT_CARD.store(change({"kind": "org"}, "kind"), None)
    assert made["created"] == made["updated"] == "2026-01-02T03:04:05Z"
    assert str(made["uid"]).startswith("urn:uuid:")
    own = {"uid": "u", "created": "2000-01-01T00:00:00Z", "updated": "2001-01-01T00:00:00Z"}
    assert CONTACT_CARD.store(change(dict(own), *own), None) == own
    changed = CONTACT_CARD.store(change({**own, "kind": "x"}, "kind", before={}), dict(own))
    assert changed["updated"] == "2026-01-02T03:04:05Z"
    assert CONTACT_CARD.store(change({}, "updated", before={}), {})["updated"] == made["updated"]


def test_who_may_not_write_may_not_make_address_books() -> None:
    assert (CAPABILITY.account or {})["mayCreateAddressBook"]
    assert not (CAPABILITY.account_read_only or {})["mayCreateAddressBook"]
