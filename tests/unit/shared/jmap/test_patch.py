"""PatchObject (RFC 8620 section 5.3; checklist C-32)."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jmap.errors import SetRejectedError
from shared.jmap.patch import apply_patch, touched_properties

KEYS = st.sampled_from(["a", "b", "c/d", "~", ""])
TREES: st.SearchStrategy[Any] = st.recursive(
    st.integers() | st.just([1, 2]),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
RECORDS = st.dictionaries(KEYS, TREES, max_size=4)


def escaped(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


@pytest.mark.parametrize(
    ("patch", "result"),
    [
        ({"a": 5}, {"a": 5, "o": {"p": {"q": 1}, "r": 2}}),
        ({"o/p/q": 5, "o/r": None}, {"a": 1, "o": {"p": {"q": 5}}}),
        ({"o/new": 5}, {"a": 1, "o": {"p": {"q": 1}, "r": 2, "new": 5}}),
        ({"a": None}, {"a": 7, "o": {"p": {"q": 1}, "r": 2}}),
        ({"o": None, "x": None}, {"a": 1}),
        ({}, {"a": 1, "o": {"p": {"q": 1}, "r": 2}}),
    ],
)
def test_a_patch_is_applied(patch: Any, result: object) -> None:
    record: Any = {"a": 1, "o": {"p": {"q": 1}, "r": 2}}
    before = copy.deepcopy(record)
    assert apply_patch(record, patch, defaults={"a": 7}) == result
    assert record == before


@pytest.mark.parametrize(
    "patch",
    [
        {"o/nope/q": 1},
        {"l/0": 1},
        {"a/b": 1},
        {"o": {}, "o/p": 1},
        {"o/p/q": 1, "o/p": None},
        {"o/~": 1},
        {"/o": 1, "": 2},
    ],
)
def test_an_invalid_patch_is_refused(patch: Any) -> None:
    record: Any = {"a": 1, "o": {"p": {"q": 1}}, "l": [1]}
    with pytest.raises(SetRejectedError) as caught:
        apply_patch(record, patch, defaults={})
    assert caught.value.error.type == "invalidPatch"


@given(RECORDS, RECORDS)
def test_a_whole_record_is_a_patch(record: Any, wanted: Any) -> None:
    patch = {escaped(key): wanted.get(key) for key in {*record, *wanted}}
    assert apply_patch(record, patch, defaults={}) == wanted
    assert touched_properties(patch) == {*record, *wanted}


@given(RECORDS)
def test_a_patch_of_what_is_there_changes_nothing(record: Any) -> None:
    patch = {escaped(key): value for key, value in record.items()}
    assert apply_patch(record, patch, defaults={}) == record


@given(RECORDS, st.integers())
def test_patching_a_leaf_leaves_the_rest(record: Any, value: int) -> None:
    before = copy.deepcopy(record)
    for key, child in record.items():
        for inner in child if isinstance(child, dict) else ():
            path = f"{escaped(key)}/{escaped(inner)}"
            patched = apply_patch(record, {path: value}, defaults={})
            assert patched == {**before, key: {**before[key], inner: value}}
            assert record == before
