"""Result references (RFC 8620 section 3.7; checklist C-28)."""

from typing import Any

import msgspec
import pytest

from shared.jmap.envelope import MethodResponse
from shared.jmap.errors import MethodError
from shared.jmap.references import resolve_references

RAW = msgspec.Raw(b'{"id":"c2"}')
LISTED: Any = [{"id": "f1"}]
RESPONSES: list[Any] = [
    MethodResponse("Foo/get", {"list": LISTED, "state": "s1"}, "0"),
    MethodResponse("Bar/get", {"list": [RAW], "one": RAW}, "1"),
    MethodResponse("Foo/set", {"list": []}, "0"),
]


def reference(call_id: str, name: str, path: str) -> Any:
    return {"resultOf": call_id, "name": name, "path": path}


def test_arguments_without_references_are_untouched() -> None:
    arguments: Any = {"ids": ["a"], "a#b": 1}
    assert resolve_references(arguments, RESPONSES) is arguments


@pytest.mark.parametrize(
    ("call_id", "name", "path", "value"),
    [
        ("0", "Foo/get", "/list/*/id", ["f1"]),
        ("0", "Foo/get", "/state", "s1"),
        ("1", "Bar/get", "/list/*/id", ["c2"]),
        ("1", "Bar/get", "/one/id", "c2"),
    ],
)
def test_a_reference_becomes_its_value(call_id: str, name: str, path: str, value: Any) -> None:
    arguments: Any = {"#ids": reference(call_id, name, path), "x": 1}
    assert resolve_references(arguments, RESPONSES) == {"ids": value, "x": 1}


@pytest.mark.parametrize(
    "value",
    [
        reference("2", "Foo/get", "/list"),
        reference("0", "Foo/set", "/list"),  # the first response with that call id counts
        reference("0", "Foo/get", "/nope"),
        reference("0", "Foo/get", "list"),
        {"resultOf": "0", "name": "Foo/get"},
        {"resultOf": 0, "name": "Foo/get", "path": "/list"},
        "x",
        None,
    ],
)
def test_a_reference_that_fails_fails_the_method(value: Any) -> None:
    with pytest.raises(MethodError) as caught:
        resolve_references({"#ids": value}, RESPONSES)
    assert caught.value.type == "invalidResultReference"


def test_a_name_in_both_forms_is_invalid() -> None:
    arguments: Any = {"ids": [], "#ids": reference("0", "Foo/get", "/list/*/id")}
    with pytest.raises(MethodError) as caught:
        resolve_references(arguments, RESPONSES)
    assert caught.value.type == "invalidArguments"
