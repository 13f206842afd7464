"""Paths of a declaration."""

from typing import Any

import pytest

from services.dispatcher.methods.paths import strings_at


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a/*/b", ["1", "2"]),
        ("a/b=1/c", ["x"]),
        ("m/keys", ["k1", "k2"]),
        ("m/*/n", ["y"]),
        ("a/keys", []),
        ("nope/*", []),
        ("s/*", []),
        ("s", ["text"]),
        ("m", []),
        ("keys", ["a", "m", "s"]),
        ("*/k1/n", ["y"]),
        ("s=text/s", []),
    ],
)
def test_a_path_leads_to_strings(path: str, found: list[str]) -> None:
    record: Any = {
        "a": [{"b": "1", "c": "x"}, {"b": "2"}, 7],
        "m": {"k1": {"n": "y"}, "k2": {}},
        "s": "text",
    }
    assert strings_at(record, path) == found
