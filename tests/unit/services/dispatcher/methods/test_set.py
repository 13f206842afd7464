"""/set, the half that needs no other record (RFC 8620 section 5.3; checklist C-32)."""

from typing import Any

import pytest

from services.dispatcher.methods.arguments import SetArguments
from services.dispatcher.methods.set import RECORD_BYTES_MAX, Drafter, same, wanted_ids
from tests.unit.services.dispatcher.methods.shelf import SHELF, VIEWER, draft, stored


def test_a_create_gets_an_id_and_its_defaults() -> None:
    done = draft(create={"k": {"name": "A", "seen": True}})
    [made] = done.drafts
    assert made.stored == {**stored("A"), "seen": True}
    assert made.answer == {
        "id": "s1",
        "parentId": None,
        "roomIds": {},
        "maker": None,
        "isDefault": False,
    }
    assert done.created_ids == {"k": "s1"}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, ("invalidProperties", ["name"])),
        ({"name": 1, "seen": "x"}, ("invalidProperties", ["name", "seen"])),
        ({"name": "A", "nope": 1}, ("invalidProperties", ["nope"])),
        ({"name": "A", "id": "s9"}, ("invalidProperties", ["id"])),
        ({"name": "A", "isDefault": True}, ("invalidProperties", ["isDefault"])),
        ({"name": "A", "parentId": "#nope"}, ("invalidProperties", ["parentId"])),
        ({"name": "A", "roomIds": {"#nope": True}}, ("invalidProperties", ["roomIds"])),
        ({"name": "A", "roomIds": {"r": False}}, ("invalidProperties", ["roomIds"])),
        ({"name": "forbidden"}, ("forbidden", None)),
        ({"name": "x" * RECORD_BYTES_MAX}, ("tooLarge", None)),
    ],
)
def test_a_create_that_cannot_be(given: Any, error: Any) -> None:
    done = draft(create={"k": given})
    assert done.drafts == []
    found = done.not_created["k"]
    assert (found.type, found.properties) == error


def test_a_server_set_property_may_be_given_as_it_will_be() -> None:
    assert draft(create={"k": {"name": "A", "isDefault": False}}).drafts


def test_a_creation_id_is_an_id() -> None:
    assert draft(create={"not an id": {"name": "A"}}).not_created


def test_creates_are_ordered_by_their_references() -> None:
    create = {
        "c": {"name": "C", "parentId": "#b"},
        "b": {"name": "B", "parentId": "#a"},
        "a": {"name": "A"},
        "d": {"name": "D", "roomIds": {"#r": True}, "parentId": "s77"},
    }
    done = draft(create=create, created_ids={"r": "r1"})
    assert [item.key for item in done.drafts][-2:] == ["b", "c"]
    parents = {item.key: (item.stored or {})["parentId"] for item in done.drafts}
    assert parents["c"] == done.created_ids["b"]
    assert (done.drafts[1].stored or {})["roomIds"] == {"r1": True}


def test_creates_in_a_circle_fail() -> None:
    create = {"a": {"name": "A", "parentId": "#b"}, "b": {"name": "B", "parentId": "#a"}}
    done = draft(create=create)
    assert "a" in done.not_created


@pytest.mark.parametrize(
    ("patch", "stored_after", "answer"),
    [
        ({"name": "B"}, {"name": "B", "writes": 2}, {}),
        ({"id": "s1", "isDefault": False, "maker": None}, {}, {}),
        ({"roomIds/r2": True}, {"roomIds": {"r1": True, "r2": True}, "writes": 2}, {}),
        ({"roomIds/#new": True}, {"roomIds": {"r1": True, "r3": True}, "writes": 2}, {}),
        ({"seen": None}, {}, {}),
    ],
)
def test_an_update_is_applied(patch: Any, stored_after: Any, answer: Any) -> None:
    before = stored("A", roomIds={"r1": True})
    done = draft({"s1": before}, update={"s1": patch}, created_ids={"new": "r3"})
    [made] = done.drafts
    assert made.stored == {**before, **stored_after}
    assert made.answer == answer
    assert made.is_write is bool(stored_after)


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ({"id": "s2"}, ("invalidProperties", ["id"])),
        ({"maker": "me"}, ("invalidProperties", ["maker"])),
        ({"isDefault": True}, ("invalidProperties", ["isDefault"])),
        ({"nope": 1}, ("invalidProperties", ["nope"])),
        ({"name": None}, ("invalidProperties", ["name"])),
        ({"parentId": "#nope"}, ("invalidProperties", ["parentId"])),
        ({"roomIds/#nope": True}, ("invalidProperties", ["roomIds"])),
        ({"name/x": 1}, ("invalidPatch", None)),
        ({"name": "forbidden"}, ("forbidden", None)),
    ],
)
def test_an_update_that_cannot_be(patch: Any, error: Any) -> None:
    done = draft({"s1": stored("A")}, update={"s1": patch})
    found = done.not_updated["s1"]
    assert (found.type, found.properties) == error


def test_what_is_not_there_is_not_found() -> None:
    done = draft(update={"s1": {}}, destroy=["s1", "#k"])
    assert done.not_updated["s1"].type == "notFound"
    assert {key: error.type for key, error in done.not_destroyed.items()} == {
        "s1": "notFound",
        "#k": "notFound",
    }


def test_a_record_is_destroyed_once_and_not_updated() -> None:
    done = draft({"s1": stored("A")}, update={"s1": {"name": "B"}}, destroy=["s1", "s1"])
    assert done.not_updated["s1"].type == "willDestroy"
    [gone] = done.drafts
    assert (gone.record_id, gone.stored) == ("s1", None)


def test_existing_records_are_named_by_creation_ids_too() -> None:
    arguments = SetArguments(account_id="a", update={"#k": {}}, destroy=["s2"])
    assert wanted_ids(arguments, {"k": "s1"}) == ["s1", "s2"]
    assert arguments.object_count == 2
    assert wanted_ids(SetArguments(account_id="a"), {}) == []
    done = draft({"s1": stored("A")}, update={"#k": {"name": "B"}}, created_ids={"k": "s1"})
    assert [item.record_id for item in done.drafts] == ["s1"]


def test_copies_go_over_the_original() -> None:
    numbers = iter(range(9))
    drafter = Drafter(SHELF, {}, viewer=VIEWER, created_ids={}, new_id=lambda: f"s{next(numbers)}")
    original: Any = {"name": "A", "seen": True, "isDefault": True}
    done = drafter.draft_copies({"k": ({"name": "B"}, original), "n": ({}, None)})
    [made] = done.drafts
    assert made.stored is not None
    assert (made.stored["name"], made.stored["seen"]) == ("B", True)
    assert made.answer["id"] == "s0"
    assert made.answer["isDefault"] is False
    assert done.not_created["n"].type == "notFound"


def test_one_is_not_true() -> None:
    assert not same({"a": 1}, {"a": True})
    assert same({"a": 1, "b": [None]}, {"b": [None], "a": 1})
