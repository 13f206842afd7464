"""JSON Pointer with `*` (RFC 8620 section 3.7; checklist C-28)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jmap.pointer import PointerError, evaluate, parse_pointer

DOCUMENT: Any = {
    "list": [{"id": "a", "ids": ["1", "2"]}, {"id": "b", "ids": ["3"]}],
    "": {"~/": 1},
    "empty": [],
}


def spend(_: int) -> None:
    """Without a bound."""


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT),
        ("/list/0/id", "a"),
        ("/list/*/id", ["a", "b"]),
        ("/list/*/ids", ["1", "2", "3"]),
        ("/list/*/ids/*", ["1", "2", "3"]),
        ("/list/*", DOCUMENT["list"]),
        ("//~0~1", 1),
        ("/empty/*/id", []),
    ],
)
def test_a_pointer_finds(pointer: str, value: object) -> None:
    assert evaluate(DOCUMENT, parse_pointer(pointer), spend) == value


@pytest.mark.parametrize(
    "pointer", ["/nope", "/list/2", "/list/01", "/list/-", "/list/id", "/list/*/no", "/empty/0/x"]
)
def test_a_pointer_to_nothing_fails(pointer: str) -> None:
    with pytest.raises(PointerError):
        evaluate(DOCUMENT, parse_pointer(pointer), spend)


@pytest.mark.parametrize("pointer", ["list", "/~", "/~2", "*"])
def test_what_is_no_pointer_fails(pointer: str) -> None:
    with pytest.raises(PointerError):
        parse_pointer(pointer)


@given(st.lists(st.lists(st.integers())))
def test_mapping_flattens_one_level(lists: list[list[int]]) -> None:
    flat = [item for inner in lists for item in inner]
    document: Any = {"a": [{"b": inner} for inner in lists]}
    assert evaluate(document, ["a", "*", "b"], spend) == flat


@given(st.dictionaries(st.text(), st.integers()))
def test_any_member_is_found_by_its_escaped_name(members: dict[str, int]) -> None:
    for name, value in members.items():
        pointer = "/" + name.replace("~", "~0").replace("/", "~1")
        assert evaluate(dict(members), parse_pointer(pointer), spend) == value


def test_the_members_of_each_array_that_is_mapped_are_told() -> None:
    document: Any = {"a": [{"b": [[], []]}, {"b": []}]}
    told: list[int] = []
    assert evaluate(document, parse_pointer("/a/*/b/*/*"), told.append) == []
    assert told == [2, 2, 0, 0, 0]
