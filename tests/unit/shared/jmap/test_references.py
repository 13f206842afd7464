"""Result references (RFC 8620 section 3.7; checklist C-28)."""

from typing import Any

import msgspec
import pytest

from shared.jmap.envelope import MethodResponse
from shared.jmap.errors import MethodError
from shared.jmap.i_json import JsonObject, decode_i_json
from shared.jmap.references import References

RAW = msgspec.Raw(b'{"id":"c2"}')
LISTED: Any = [{"id": "f1"}]
RESPONSES: list[Any] = [
    MethodResponse("Foo/get", {"list": LISTED, "state": "s1"}, "0"),
    MethodResponse("Bar/get", {"list": [RAW], "one": RAW}, "1"),
    MethodResponse("Foo/set", {"list": []}, "0"),
]


def resolve(arguments: JsonObject) -> JsonObject:
    return references(RESPONSES, octets_max=1000).resolve(arguments)


def references(responses: list[Any], *, octets_max: int) -> References:
    made = References(octets_max)
    made.responses.extend(responses)
    return made


def reference(call_id: str, name: str, path: str) -> Any:
    return {"resultOf": call_id, "name": name, "path": path}


def test_arguments_without_references_are_untouched() -> None:
    arguments: Any = {"ids": ["a"], "a#b": 1}
    assert resolve(arguments) is arguments


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
    assert resolve(arguments) == {"ids": value, "x": 1}


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
        resolve({"#ids": value})
    assert caught.value.type == "invalidResultReference"


def test_a_name_in_both_forms_is_invalid() -> None:
    arguments: Any = {"ids": [], "#ids": reference("0", "Foo/get", "/list/*/id")}
    with pytest.raises(MethodError) as caught:
        resolve(arguments)
    assert caught.value.type == "invalidArguments"


def test_what_the_references_of_a_request_refer_to_is_bounded() -> None:
    """RFC 8620 section 8.4: of no client may a few octets become many."""
    made = references([MethodResponse("Core/echo", {"a": "x" * 98}, "0")], octets_max=1000)
    one = reference("0", "Core/echo", "/a")  # 100 octets, with the quotes
    first = made.resolve({f"#{index}": one for index in range(6)})
    assert len(first) == 6
    with pytest.raises(MethodError) as caught:
        made.resolve({f"#{index}": one for index in range(5)})
    assert caught.value.type == "requestTooLarge"
    assert "1000 octets" in str(caught.value.description)


def test_a_walk_over_many_that_finds_nothing_is_paid_for() -> None:
    empty: Any = [[]] * 300
    made = references([MethodResponse("Core/echo", {"a": empty}, "0")], octets_max=1000)
    one = reference("0", "Core/echo", "/a/*/*")
    assert made.resolve({"#x": one, "#y": one, "#z": one}) == {"x": [], "y": [], "z": []}
    with pytest.raises(MethodError) as caught:
        made.resolve({"#x": one})
    assert caught.value.type == "requestTooLarge"


def test_raw_json_of_a_response_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def counted(body: bytes, *, depth_max: int) -> Any:
        read.append(body)
        return decode_i_json(body, depth_max=depth_max)

    monkeypatch.setattr("shared.jmap.references.decode_i_json", counted)
    made = references(RESPONSES, octets_max=1000)
    one = reference("1", "Bar/get", "/one/id")
    for _ in range(3):
        assert made.resolve({"#x": one, "#y": one}) == {"x": "c2", "y": "c2"}
    assert len(read) == 1


def test_what_must_be_decoded_is_paid_for_once() -> None:
    raw = msgspec.Raw(b'"' + b"x" * 400 + b'"')
    made = references([MethodResponse("Bar/get", {"a": raw, "b": 1}, "0")], octets_max=1000)
    one = reference("0", "Bar/get", "/b")
    assert made.resolve({f"#{index}": one for index in range(100)})["0"] == 1
    made.responses.append(MethodResponse("Bar/get", {"a": [raw, raw]}, "1"))
    with pytest.raises(MethodError) as caught:
        made.resolve({"#x": reference("1", "Bar/get", "/a/0")})
    assert caught.value.type == "requestTooLarge"
