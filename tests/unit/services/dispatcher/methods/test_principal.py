"""Principals are filtered, sorted and cut into pages (RFC 9670 section 2.4)."""

from typing import Any

import pytest

from services.dispatcher.methods.principal import (
    Principal,
    exact_names,
    in_order,
    is_match,
    page,
    parse_filter,
    parse_sort,
    state_of,
)
from services.dispatcher.methods.query import QueryArguments
from shared.jmap.errors import MethodError

ADA = Principal(id="u1", name="Ada Lovelace", accounts={"a1": {}})
BOB = Principal(id="u2", name="bob")
ZOE = Principal(id="u3", name="Zoë")


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (None, "u1 u2 u3"),
        ({}, "u1 u2 u3"),
        ({"name": "LOVE"}, "u1"),
        ({"text": "o"}, "u1 u2 u3"),
        ({"email": ""}, ""),
        ({"type": "individual", "name": "zoë"}, "u3"),
        ({"type": "indiv"}, ""),
        ({"timeZone": "Europe/Zurich"}, ""),
        ({"accountIds": ["a1", "a2"]}, "u1"),
        ({"accountIds": []}, ""),
        ({"operator": "OR", "conditions": [{"name": "ada"}, {"name": "bob"}]}, "u1 u2"),
        ({"operator": "AND", "conditions": [{"name": "o"}, {"name": "b"}]}, "u2"),
        ({"operator": "NOT", "conditions": [{"name": "bob"}, {"name": "zoë"}]}, "u1"),
        ({"operator": "OR", "conditions": []}, ""),
    ],
)
def test_filters_find(condition: Any, found: str) -> None:
    parsed = parse_filter(condition)
    assert [item.id for item in (ADA, BOB, ZOE) if is_match(parsed, item)] == found.split()


def test_a_filter_gives_the_names_that_it_could_mean_exactly() -> None:
    condition: Any = {
        "operator": "OR",
        "conditions": [{"name": "ada", "email": "x"}, {"text": "bob"}, {"type": "individual"}],
    }
    assert exact_names(parse_filter(condition)) == {"ada", "bob"}


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ({"shoeSize": "9"}, "unsupportedFilter"),
        ({"name": 9}, "invalidArguments"),
        ({"accountIds": "a1"}, "invalidArguments"),
        ({"operator": "XOR", "conditions": []}, "invalidArguments"),
        ({"operator": "AND"}, "invalidArguments"),
        ({"operator": "AND", "conditions": [7]}, "invalidArguments"),
        ({"operator": "OR", "conditions": [{"name": "x"}] * 100}, "unsupportedFilter"),
    ],
)
def test_filters_that_nobody_understands_are_refused(condition: Any, error: str) -> None:
    with pytest.raises(MethodError) as raised:
        parse_filter(condition)
    assert raised.value.type == error


def test_the_order_is_by_name_and_stable() -> None:
    def ids(sort: Any) -> str:
        return " ".join(item.id for item in in_order([ZOE, BOB, ADA], parse_sort(sort)))

    assert ids(None) == "u1 u3 u2"
    assert ids([{"property": "name"}]) == "u1 u2 u3"
    assert ids([{"property": "name", "isAscending": False}]) == "u3 u2 u1"
    assert ids([{"property": "name", "collation": "i;ascii-casemap"}]) == "u1 u2 u3"


@pytest.mark.parametrize(
    ("sort", "error"),
    [
        ([{"property": "email"}], "unsupportedSort"),
        ([{"property": "name", "collation": "i;octet"}], "unsupportedSort"),
        ([{"property": "name"}] * 11, "unsupportedSort"),
        ([{"isAscending": True}], "invalidArguments"),
    ],
)
def test_sorts_that_nobody_understands_are_refused(sort: Any, error: str) -> None:
    with pytest.raises(MethodError) as raised:
        parse_sort(sort)
    assert raised.value.type == error


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (0, "a b c d")),
        ({"position": 1, "limit": 2}, (1, "b c")),
        ({"position": -1}, (3, "d")),
        ({"position": -9}, (0, "a b c d")),
        ({"position": 9}, (9, "")),
        ({"anchor": "c", "anchor_offset": -1, "position": 3}, (1, "b c d")),
        ({"anchor": "a", "anchor_offset": -1}, (0, "a b c d")),
        ({"limit": 0}, (0, "")),
        ({"limit": 100}, (0, "a b c d")),
    ],
)
def test_pages_are_cut(arguments: Any, expected: tuple[int, str]) -> None:
    position, ids = page(["a", "b", "c", "d"], QueryArguments(account_id="a", **arguments), 10)
    assert (position, " ".join(ids)) == expected
    assert len(page(["a"] * 20, QueryArguments(account_id="a"), 10)[1]) == 10


def test_an_anchor_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MethodError) as raised:
        page(["a"], QueryArguments(account_id="a", anchor="z"), 10)
    assert raised.value.type == "anchorNotFound"


def test_the_state_moves_with_what_is_seen() -> None:
    assert state_of([ADA, BOB]) == state_of([ADA, BOB])
    assert len({state_of([ADA]), state_of([ADA, BOB]), state_of([])}) == 3
