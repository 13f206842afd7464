"""Arguments are strict (checklist C-2a)."""

from typing import Any

import pytest

from services.dispatcher.methods.arguments import GetArguments, read_arguments, take_argument
from shared.jmap.errors import MethodError


def test_arguments_are_strict() -> None:
    for wrong in ({}, {"accountId": 1}, {"accountId": "a", "more": 1}):
        arguments: Any = wrong
        with pytest.raises(MethodError) as caught:
            read_arguments(arguments, GetArguments)
        assert caught.value.type == "invalidArguments"


def test_an_extra_argument_is_taken_out() -> None:
    assert take_argument({"a": 1, "x": True}, "x", bool) == (True, {"a": 1})
    assert take_argument({"a": 1, "x": None}, "x", bool) == (None, {"a": 1})
    assert take_argument({"a": 1}, "x", bool) == (None, {"a": 1})
    with pytest.raises(MethodError):
        take_argument({"x": 1}, "x", bool)
