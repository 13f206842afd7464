"""A service's answer is believed only as far as the contract goes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.remote.answer import (
    Asked,
    BadAnswerError,
    check_answer,
    may_change,
)
from shared.jmap.i_json import INT_MAX
from shared.log.event import GivenState

ASKED = Asked(
    method="Note/set",
    creations={"k"},
    destroys_original=False,
    types={"Note"},
    writable=["a1"],
    created_ids={"k": "old", "other": "x"},
    octets_max=10_000,
    created_max=3,
)
COPY = msgspec.structs.replace(ASKED, method="Note/copy", destroys_original=True)


def answer(**members: Any) -> bytes:
    return msgspec.json.encode({"name": "Note/set", "arguments": {}, **members})


def error(**members: Any) -> bytes:
    return answer(name="error", arguments=members)


def test_a_good_answer_is_taken_whole() -> None:
    found = check_answer(
        answer(
            arguments={"x": 1.5},
            createdIds={"k": "n1", "new": "n2"},
            changed={"a1": {"Note": ["n7", 7]}},
            later=True,
        ),
        ASKED,
    )
    assert found.responses == [("Note/set", {"x": 1.5})]
    assert found.created_ids == {"k": "n1", "new": "n2"}
    assert found.changed == {"a1": {"Note": GivenState("n7", 7)}}


def test_null_is_as_good_as_nothing() -> None:
    found = check_answer(answer(createdIds=None, changed=None, implicit=None), ASKED)
    assert (found.created_ids, found.changed, len(found.responses)) == ({}, {}, 1)


def test_errors_are_passed_on() -> None:
    found = check_answer(error(type="stateMismatch", description="x", more=[1]), ASKED)
    assert found.responses == [
        ("error", {"type": "stateMismatch", "description": "x", "more": [1]})
    ]
    changed = {"a1": {"Note": ["n7", 7]}}
    partial = answer(name="error", arguments={"type": "serverPartialFail"}, changed=changed)
    assert check_answer(partial, ASKED).changed


def test_a_copy_may_answer_for_the_destruction_of_the_originals() -> None:
    implicit = {"name": "Note/set", "arguments": {"destroyed": ["x"]}}
    found = check_answer(answer(name="Note/copy", implicit=implicit), COPY)
    assert [name for name, _ in found.responses] == ["Note/copy", "Note/set"]
    failed = {"name": "error", "arguments": {"type": "stateMismatch"}}
    found = check_answer(answer(name="Note/copy", implicit=failed), COPY)
    assert [name for name, _ in found.responses] == ["Note/copy", "error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"name":"Note/set","arguments":{"a":1,"a":2}}',
        b'{"name":"Note/set","arguments":{"a":NaN}}',
        b"\xff",
        b"[" * 9000,
        answer(pad="x" * 10_000),
        answer(version=2),
        answer(version="1"),
        answer(name=7),
        answer(name="Note/get"),
        answer(name="ContactCard/set"),
        answer(arguments=None),
        answer(arguments=[]),
        error(),
        error(type=7),
        error(type=""),
        error(type="a b"),
        error(type="x" * 300),
        error(type="x\n"),
        error(type="serverFail", description=7),
        error(type="serverFail", description="x" * 5000),
        answer(name="error", arguments={"type": "x"}, implicit={}),
        answer(name="error", arguments={"type": "x"}, createdIds={"new": "n"}),
        answer(name="error", arguments={"type": "x"}, changed={"a1": {"Note": ["n", 1]}}),
        answer(implicit={"name": "Note/set", "arguments": {}}),
        answer(createdIds=[]),
        answer(createdIds={"other": "stolen"}),
        answer(createdIds={"other": "x"}),
        answer(createdIds={"new": 7}),
        answer(createdIds={"new": "not an id"}),
        answer(createdIds={"not an id": "n"}),
        answer(createdIds={f"k{n}": "n" for n in range(4)}),
        answer(changed=[]),
        answer(changed={"a2": {"Note": ["n", 1]}}),
        answer(changed={"a1": {}}),
        answer(changed={"a1": []}),
        answer(changed={"a1": {"ContactCard": ["n", 1]}}),
        answer(changed={"a1": {"Note": "n"}}),
        answer(changed={"a1": {"Note": ["n"]}}),
        answer(changed={"a1": {"Note": ["n", True]}}),
        answer(changed={"a1": {"Note": ["n", 1.5]}}),
        answer(changed={"a1": {"Note": ["n", -1]}}),
        answer(changed={"a1": {"Note": ["n", INT_MAX + 1]}}),
        answer(changed={"a1": {"Note": ["", 1]}}),
        answer(changed={"a1": {"Note": ["a\nb", 1]}}),
        answer(changed={"a1": {"Note": ["é" * 128, 1]}}),
        answer(changed={"a1": {"Note": [7, 1]}}),
    ],
)
def test_a_bad_answer_is_not_believed(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        check_answer(body, ASKED)


@pytest.mark.parametrize(
    "implicit", [[], {}, {"name": "Note/get", "arguments": {}}, {"name": "Note/copy"}]
)
def test_a_bad_implicit_response_is_not_believed(implicit: Any) -> None:
    with pytest.raises(BadAnswerError):
        check_answer(answer(name="Note/copy", implicit=implicit), COPY)


def test_a_copy_that_keeps_the_originals_has_one_response() -> None:
    kept = msgspec.structs.replace(COPY, destroys_original=False)
    with pytest.raises(BadAnswerError):
        check_answer(answer(name="Note/copy", implicit={"name": "Note/set", "arguments": {}}), kept)


def test_without_a_create_nothing_is_created_anew() -> None:
    without = msgspec.structs.replace(ASKED, creations=())
    assert check_answer(answer(createdIds={"new": "n"}), without).created_ids == {"new": "n"}
    with pytest.raises(BadAnswerError):
        check_answer(answer(createdIds={"k": "n"}), without)


def test_reading_changes_nothing() -> None:
    reading = ("get", "changes", "query", "queryChanges")
    assert not any(may_change(f"Note/{verb}") for verb in reading)
    assert all(may_change(f"Note/{verb}") for verb in ("set", "copy", "import", "burn"))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_STATES = st.dictionaries(
    st.sampled_from(["Note", "ContactCard"]) | st.text(max_size=3),
    _JSON | st.lists(st.text(max_size=3) | st.integers(), max_size=3),
    max_size=3,
)
_ANSWERS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["Note/set", "Note/copy", "error", "Core/echo"]) | _JSON,
        "arguments": st.fixed_dictionaries({"type": st.text(max_size=4)}) | _JSON,
        "createdIds": st.dictionaries(st.sampled_from(["k", "other", "new"]), _JSON) | _JSON,
        "changed": st.dictionaries(st.sampled_from(["a1", "a2"]), _STATES) | _JSON,
        "implicit": _JSON,
    },
)


@given(_ANSWERS | _JSON)
def test_whatever_comes_is_either_within_the_contract_or_refused(reply: Any) -> None:
    try:
        found = check_answer(msgspec.json.encode(reply), ASKED)
    except BadAnswerError:
        return
    [(name, arguments)] = found.responses
    assert name in ("Note/set", "error")
    assert isinstance(arguments, dict)
    assert found.changed.keys() <= {"a1"}
    assert all(states.keys() == {"Note"} for states in found.changed.values())
    assert "other" not in found.created_ids


@given(st.binary(max_size=60))
def test_octets_of_any_kind_are_refused(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        check_answer(body, ASKED)
