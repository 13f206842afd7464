"""/set, the half that other records decide (RFC 8620 section 5.3; checklist C-32)."""

from typing import Any

from services.dispatcher.methods.declaration import DefaultFlag
from services.dispatcher.methods.settle import (
    Known,
    Settled,
    move_default,
    referenced_ids,
    settle,
    unique_values,
)
from tests.unit.services.dispatcher.methods.shelf import SHELF, draft, stored

FLAG = DefaultFlag(property="isDefault", argument="x")


def settled(records: Any = None, known: Any = None, **arguments: Any) -> Settled:
    drafts = draft(records, **arguments)
    return settle(SHELF, drafts, Known(**{"existing": {}, **(known or {})}))


def test_what_stands_is_written_and_answered() -> None:
    records = {"s50": stored("A"), "s51": stored("B")}
    done = settled(
        records,
        create={"k": {"name": "C"}},
        update={"s50": {"name": "D"}},
        destroy=["s51"],
    )
    assert list(done.created) == ["k"]
    assert done.updated == {"s50": None}
    assert done.destroyed == ["s51"]
    assert done.created_ids == {"k": "s1"}
    assert [write.record_id for write in done.writes] == ["s1", "s50", "s51"]
    assert done.is_clean


def test_an_update_without_a_change_is_no_write() -> None:
    done = settled({"s50": stored("A")}, update={"s50": {"name": "A"}})
    assert done.updated == {"s50": None}
    assert done.writes == []


def test_a_reference_must_exist_and_falls_with_what_it_refers_to() -> None:
    create = {
        "a": {"name": "A", "roomIds": {"r1": True, "r2": True}},
        "b": {"name": "B", "parentId": "#a"},
        "c": {"name": "C", "parentId": "#b"},
        "d": {"name": "D", "parentId": "s50", "roomIds": {"r1": True}},
    }
    known = {"existing": {"Room": frozenset({"r1"}), "Shelf": frozenset({"s50"})}}
    done = settled(known=known, create=create)
    assert list(done.created) == ["d"]
    assert done.not_created["a"].properties == ["roomIds"]
    assert done.not_created["c"].properties == ["parentId"]
    assert list(done.created_ids) == ["d"]
    drafts = draft(create={"d": create["d"]}).drafts
    assert referenced_ids(SHELF, drafts) == {"Shelf": {"s50"}, "Room": {"r1"}}


def test_a_unique_value_is_taken_by_the_first() -> None:
    create = {"a": {"name": "A", "label": "x"}, "b": {"name": "B", "label": "x"}}
    done = settled(create=create)
    assert list(done.created) == ["a"]
    assert done.not_created["b"].existing_id == done.created_ids["a"]
    held = settled(known={"holders": {("label", "x"): "s77"}}, create=create)
    assert held.not_created["a"].existing_id == "s77"


def test_unique_values_may_be_swapped_and_passed_on() -> None:
    records = {"s50": stored("A", label="x"), "s51": stored("B", label="y")}
    holders = {("label", "x"): "s50", ("label", "y"): "s51"}
    swap = {"s50": {"label": "y"}, "s51": {"label": "x"}}
    assert settled(records, {"holders": holders}, update=swap).is_clean
    passed = settled(
        records, {"holders": holders}, create={"k": {"name": "C", "label": "x"}}, destroy=["s50"]
    )
    assert passed.is_clean
    drafts = draft(records, update=swap).drafts
    assert unique_values(SHELF, drafts) == [("label", "y"), ("label", "x")]


def test_an_update_that_falls_leaves_its_value_to_its_holder() -> None:
    records = {"s50": stored("A", label="x")}
    done = settled(
        records,
        {"holders": {("label", "x"): "s50"}},
        create={"k": {"name": "B", "label": "x"}},
        update={"s50": {"label": "z", "parentId": "gone"}},
    )
    assert set(done.not_updated) == {"s50"}
    assert set(done.not_created) == {"k"}


def test_a_container_with_members_stays() -> None:
    done = settled({"s50": stored("A")}, {"filled": frozenset({"s50"})}, destroy=["s50"])
    assert done.not_destroyed["s50"].type == "shelfHasShelves"


def test_a_blob_must_be_usable_and_an_image() -> None:
    create = {
        "a": {"name": "A", "picture": "g1"},
        "b": {"name": "B", "picture": "g2"},
        "c": {"name": "C", "picture": "g3"},
    }
    done = settled(known={"blobs": {"g1": True, "g2": False}}, create=create)
    assert list(done.created) == ["a"]
    assert done.not_created["b"].description == "A photo is an image."
    assert done.not_created["c"].not_found == ["g3"]


def test_there_is_one_default_as_long_as_there_is_any_record() -> None:
    one, two = stored("B", sortOrder=1), stored("A", sortOrder=2)
    records = {"s1": one, "s2": two}
    assert move_default(FLAG, {}, None) == {}
    assert move_default(FLAG, records, None) == {"s1": True}
    assert move_default(FLAG, records, "s2") == {"s2": True}
    records["s1"] = {**one, "isDefault": True}
    assert move_default(FLAG, records, None) == {}
    assert move_default(FLAG, records, "gone") == {}
    assert move_default(FLAG, records, "s2") == {"s1": False, "s2": True}
    assert move_default(FLAG, {"s1": stored("B"), "s2": stored("A")}, None) == {"s2": True}
