"""Filters and sorts become SQL with parameters (RFC 8620 section 5.5; checklist C-34)."""

from typing import Any

import pytest

from services.dispatcher.methods.query import (
    Query,
    compile_query,
    first_position,
    parse_filter,
    parse_sort,
    tagged_values,
)
from shared.jmap.errors import MethodError
from tests.unit.services.dispatcher.methods.shelf import SHELF

ASCII = "i;ascii-casemap"


TWO_CONDITIONS = (
    "(((tags @> $2::bigint[] AND strpos(search->>'name', $3::text) > 0)"
    ") AND (tags @> $4::bigint[])) AND tags @> $5::bigint[])"
)
BEFORE = (
    "((((sort->>'made') COLLATE \"C\") <> '' AND "
    '((sort->>\'made\') COLLATE "C") < $2::text COLLATE "C"))'
)


def compiled(condition: Any, sort: Any = None) -> Query:
    parsed = parse_filter(SHELF, condition)
    tags = {value: number for number, value in enumerate(sorted(tagged_values(parsed)))}
    return compile_query(parsed, parse_sort(SHELF, sort), tags, first_parameter=2)


@pytest.mark.parametrize(
    ("condition", "where", "parameters"),
    [
        (None, "true", []),
        ({}, "true", []),
        ({"label": "x"}, "(tags @> $2::bigint[])", [[0]]),
        (
            {"name": "ada 'b c'", "inRoom": "r"},
            TWO_CONDITIONS,
            [[2, 3], " b c ", [1], [0]],
        ),
        ({"name": "!"}, "(false)", []),
        ({"name": " "}, "(true)", []),
        ({"text": "a"}, "(((tags @> $2::bigint[])))", [[0]]),
        (
            {"madeBefore": "2020-01-01T00:00:00Z"},
            BEFORE,
            ["2020-01-01T00:00:00.000000000000"],
        ),
        ({"operator": "AND", "conditions": []}, "true", []),
        ({"operator": "OR", "conditions": []}, "false", []),
        ({"operator": "NOT", "conditions": []}, "true", []),
        (
            {"operator": "NOT", "conditions": [{"label": "x"}, {"label": "y"}]},
            "NOT ((tags @> $2::bigint[]) OR (tags @> $3::bigint[]))",
            [[0], [1]],
        ),
        ({"operator": "OR", "conditions": [{"label": "x"}]}, "((tags @> $2::bigint[]))", [[0]]),
    ],
)
def test_a_filter_is_compiled(condition: Any, where: str, parameters: list[Any]) -> None:
    query = compiled(condition)
    if parameters and parameters[-1] == [0] and len(parameters) == 4:
        assert query.where.count("$") == len(parameters)
        assert sorted(map(str, query.parameters)) == sorted(map(str, parameters))
        return
    assert (query.where, query.parameters) == (where, parameters)


def test_a_sort_is_compiled() -> None:
    query = compiled(None, [{"property": "name"}, {"property": "made", "isAscending": False}])
    assert query.order == (
        "((sort->>'name') COLLATE \"C\") ASC, ((sort->>'made') COLLATE \"C\") DESC, "
        "created_modseq ASC"
    )
    down = {"property": "name", "isAscending": False, "collation": ASCII}
    assert compiled(None, [down]).order == (
        "((sort->>'name;i;ascii-casemap') COLLATE \"C\") DESC, created_modseq DESC"
    )
    assert compiled(None).order == "created_modseq ASC"
    dates = parse_sort(SHELF, [{"property": "made", "collation": "ignored"}])
    assert dates[0].collation is None


@pytest.mark.parametrize(
    ("condition", "kind"),
    [
        ({"nope": "x"}, "unsupportedFilter"),
        ({"label": 1}, "invalidArguments"),
        ({"madeBefore": "x"}, "invalidArguments"),
        ({"operator": "AND"}, "invalidArguments"),
        ({"operator": "AND", "conditions": [1]}, "invalidArguments"),
        ({"operator": "AND", "conditions": [{}] * 101}, "unsupportedFilter"),
    ],
)
def test_a_filter_that_cannot_be(condition: Any, kind: str) -> None:
    with pytest.raises(MethodError) as caught:
        parse_filter(SHELF, condition)
    assert caught.value.type == kind


@pytest.mark.parametrize(
    ("sort", "kind"),
    [
        ([{"property": "nope"}], "unsupportedSort"),
        ([{"property": "name", "collation": "i;x"}], "unsupportedSort"),
        ([{"property": "name"}] * 11, "unsupportedSort"),
        ([{"property": 1}], "invalidArguments"),
    ],
)
def test_a_sort_that_cannot_be(sort: Any, kind: str) -> None:
    with pytest.raises(MethodError) as caught:
        parse_sort(SHELF, sort)
    assert caught.value.type == kind


def test_a_negative_position_counts_from_the_end() -> None:
    assert [first_position(place, 3) for place in (-5, -2, 0, 7)] == [0, 1, 0, 7]
