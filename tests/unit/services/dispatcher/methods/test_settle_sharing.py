"""shareWith over a whole /set call (RFC 9610 section 2.3, RFC 9670 section 4; docs/adr/0010)."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.methods.arguments import SetArguments
from services.dispatcher.methods.declaration import Viewer
from services.dispatcher.methods.set import Drafter
from services.dispatcher.methods.settle import Known, Settled, settle
from services.dispatcher.types.contacts import ADDRESS_BOOK

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READ: Any = {"mayRead": True, "mayWrite": False, "mayShare": False, "mayDelete": False}
WRITE: Any = {"mayRead": True, "mayWrite": True, "mayShare": False, "mayDelete": True}
RIGHTS = {"read": READ, "write": WRITE}
BOOK: Any = {"name": "N", "description": None, "sortOrder": 0, "isDefault": False}


def settled(books: int, shares: dict[str, str], **arguments: Any) -> Settled:
    """The owner's call on an account with books b0, b1, …; users u2 to u4 exist."""
    records = {f"b{number}": {**BOOK, "isSubscribed": {}} for number in range(books)}
    numbers = iter(range(100))
    drafter = Drafter(
        ADDRESS_BOOK,
        records,
        viewer=Viewer(user_id="u1", role="owner", shares=shares, now=NOW, owners=frozenset({"u1"})),
        created_ids={},
        new_id=lambda: f"n{next(numbers)}",
    )
    known = Known(existing={}, users=frozenset({"u2", "u3", "u4"}), records=frozenset(records))
    return settle(ADDRESS_BOOK, drafter.draft(SetArguments(account_id="a", **arguments)), known)


def test_the_only_book_is_shared_and_its_answer_has_the_whole_rights() -> None:
    done = settled(1, {}, update={"b0": {"shareWith": {"u2": {"mayRead": True}}}})
    assert done.shares == {"u2": "read"}
    assert done.updated["b0"] == {"shareWith": {"u2": READ}}
    assert [write.record_id for write in done.writes] == ["b0"]
    full = settled(1, {}, update={"b0": {"shareWith": {"u2": READ}}})
    assert full.updated == {"b0": None}


def test_paths_into_the_rights_and_null_work() -> None:
    shares = {"u2": "read", "u3": "write"}
    raised = {"shareWith/u2/mayWrite": True, "shareWith/u2/mayDelete": True}
    assert settled(1, shares, update={"b0": raised}).shares == {"u2": "write", "u3": "write"}
    added = {"shareWith/u4": {"mayRead": True}}
    assert settled(1, shares, update={"b0": added}).shares == {**shares, "u4": "read"}
    assert settled(1, shares, update={"b0": {"shareWith/u2": None}}).shares == {"u3": "write"}
    assert settled(1, shares, update={"b0": {"shareWith": None}}).shares == {}
    last = settled(1, {"u2": "read"}, update={"b0": {"shareWith/u2": None}})
    assert last.shares == {}
    assert last.updated["b0"] == {"shareWith": None}


def test_a_path_that_leaves_rights_no_grant_gives_is_refused() -> None:
    done = settled(1, {"u2": "read"}, update={"b0": {"shareWith/u2/mayWrite": True}})
    assert done.not_updated["b0"].type == "invalidProperties"
    into_null = settled(1, {}, update={"b0": {"shareWith/u2": READ}})
    assert into_null.not_updated["b0"].type == "invalidPatch"


def test_an_unknown_member_of_the_rights_is_refused() -> None:
    done = settled(1, {}, update={"b0": {"shareWith": {"u2": {**READ, "mayFly": True}}}})
    assert done.not_updated["b0"].properties == ["shareWith"]


def test_a_principal_that_is_not_there_is_named() -> None:
    done = settled(1, {}, update={"b0": {"shareWith": {"u2": READ, "u9": READ}, "name": "X"}})
    assert done.shares is None
    assert done.writes == []
    assert done.not_updated["b0"].type == "invalidProperties"
    assert "u9" in (done.not_updated["b0"].description or "")


def test_one_of_several_books_cannot_be_shared_alone() -> None:
    one = settled(2, {}, update={"b0": {"shareWith": {"u2": READ}}, "b1": {"name": "X"}})
    assert one.shares is None
    assert one.not_updated["b0"].type == "forbidden"
    assert "every AddressBook" in (one.not_updated["b0"].description or "")
    assert one.updated == {"b1": None}
    unlike = {"b0": {"shareWith": {"u2": READ}}, "b1": {"shareWith": {"u2": WRITE}}}
    assert set(settled(2, {}, update=unlike).not_updated) == {"b0", "b1"}
    alike = {"b0": {"shareWith": {"u2": READ}}, "b1": {"shareWith": {"u2": {"mayRead": True}}}}
    assert settled(2, {}, update=alike).shares == {"u2": "read"}


def test_a_book_that_goes_in_the_same_call_needs_no_value() -> None:
    share = {"b0": {"shareWith": {"u2": READ}}}
    assert settled(2, {}, update=share, destroy=["b1"]).shares == {"u2": "read"}


def test_a_new_book_is_shared_as_its_account_is() -> None:
    made = settled(1, {"u2": "read"}, create={"k": {"name": "K"}})
    assert made.created["k"]["shareWith"] == {"u2": READ}
    assert made.shares is None
    refused = settled(1, {"u2": "read"}, create={"k": {"name": "K", "shareWith": None}})
    assert refused.not_created["k"].type == "forbidden"
    both = settled(
        1,
        {},
        create={"k": {"name": "K", "shareWith": {"u2": READ}}},
        update={"b0": {"shareWith": {"u2": READ}}},
    )
    assert both.shares == {"u2": "read"}
    assert "shareWith" not in both.created["k"]


def test_a_call_that_shares_must_name_its_new_books_too() -> None:
    done = settled(1, {}, create={"k": {"name": "K"}}, update={"b0": {"shareWith": {"u2": READ}}})
    assert done.not_updated["b0"].type == "forbidden"
    assert done.created["k"]["shareWith"] is None


SHARES = st.dictionaries(st.sampled_from(["u2", "u3"]), st.sampled_from(["read", "write"]))
WISHES = st.none() | SHARES | st.just({"u9": "read"})
EXTRA = st.sampled_from([{}, {"name": "X"}, {"name": ""}])


@given(
    SHARES,
    st.dictionaries(st.sampled_from(["b0", "b1", "b2"]), st.tuples(WISHES, EXTRA)),
    st.dictionaries(st.sampled_from(["k", "l"]), st.tuples(WISHES, EXTRA)),
    st.lists(st.sampled_from(["b1", "b2"]), unique=True),
)
def test_what_is_shared_was_named_for_every_book_that_is_left(
    shares: dict[str, str], updates: Any, creates: Any, destroy: list[str]
) -> None:
    """And whatever was not shared as it was named has an error."""

    def properties(wish: Any, extra: Any) -> Any:
        if wish is None:
            return extra
        value = {user: RIGHTS[role] for user, role in wish.items()} or None
        return {**extra, "shareWith": value}

    done = settled(
        3,
        shares,
        update={key: properties(*item) for key, item in updates.items()},
        create={key: {"name": "K", **properties(*item)} for key, item in creates.items()},
        destroy=destroy,
    )
    after = shares if done.shares is None else done.shares
    answered = {*done.updated, *done.created}
    wishes = {key: wish for key, (wish, _) in (*updates.items(), *creates.items())}
    assert all(wishes[key] in (None, after) for key in answered & set(wishes))
    if done.shares is not None:
        assert done.shares != shares
        left = {"b0", "b1", "b2", *done.created} - set(done.destroyed)
        assert all(wishes[key] == done.shares for key in left)
        assert left <= answered
    shown = {user: RIGHTS[role] for user, role in after.items()} or None
    assert all(answer.get("shareWith", shown) == shown for answer in done.created.values())
