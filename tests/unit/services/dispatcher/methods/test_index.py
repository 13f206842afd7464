"""What is kept beside a record."""

from typing import Any

from services.dispatcher.methods.index import blob_ids, index_entry
from services.dispatcher.types.contacts import ADDRESS_BOOK
from tests.unit.services.dispatcher.methods.shelf import SHELF


def test_an_index_entry_holds_what_is_asked_for() -> None:
    record: Any = {
        "name": "Ada B",
        "label": "x",
        "parentId": "s9",
        "roomIds": {"r1": True},
        "picture": "g1",
        "made": "2020-01-01T00:00:00Z",
    }
    entry = index_entry(SHELF, record)
    assert entry.values == {
        ("label", "x"),
        ("parentId", "s9"),
        ("roomIds", "r1"),
        ("inRoom", "r1"),
        ("blobId", "g1"),
        ("name", "ada"),
        ("name", "b"),
    }
    assert entry.search == {"name": " ada b "}
    assert entry.sort["name"] == "ADA B"
    assert entry.sort["made"].startswith("2020")
    empty = index_entry(SHELF, {})
    assert (empty.values, empty.search, empty.sort["made"]) == (frozenset(), {}, "")
    assert index_entry(ADDRESS_BOOK, {"name": "x"}).sort == {}
    assert blob_ids(SHELF, None) == blob_ids(ADDRESS_BOOK, record) == set()
