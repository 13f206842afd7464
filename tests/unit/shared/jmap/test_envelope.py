"""Request and Response (RFC 8620 section 3.3; checklist C-22, C-23, C-26)."""

from typing import Any

import pytest

from shared.jmap.envelope import Invocation, request_from_json
from shared.jmap.errors import RequestError


def test_a_request_is_read_and_what_is_unknown_ignored() -> None:
    request = request_from_json(
        {"using": ["a", "b"], "methodCalls": [["Core/echo", {"x": 1}, "0"]], "new": True}
    )
    assert request.using == {"a", "b"}
    assert request.method_calls == [Invocation("Core/echo", {"x": 1}, "0")]
    assert request.created_ids is None


def test_created_ids_are_kept() -> None:
    request = request_from_json({"using": [], "methodCalls": [], "createdIds": {"k": "c1"}})
    assert request.created_ids == {"k": "c1"}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"using": [], "methodCalls": {}},
        {"using": "a", "methodCalls": []},
        {"using": [1], "methodCalls": []},
        {"using": None, "methodCalls": []},
        {"methodCalls": []},
        {"using": []},
        {"using": [], "methodCalls": [["a", {}]]},
        {"using": [], "methodCalls": [["a", [], "0"]]},
        {"using": [], "methodCalls": [[1, {}, "0"]]},
        {"using": [], "methodCalls": [["a", {}, 0]]},
        {"using": [], "methodCalls": [["a", {}, "0", 1]]},
        {"using": [], "methodCalls": ["a"]},
        {"using": [], "methodCalls": [], "createdIds": None},
        {"using": [], "methodCalls": [], "createdIds": []},
        {"using": [], "methodCalls": [], "createdIds": {"k": 1}},
        {"using": [], "methodCalls": [], "createdIds": {"k": "not an id"}},
        {"using": [], "methodCalls": [], "createdIds": {"": "c1"}},
    ],
)
def test_what_is_no_request_is_refused(value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        request_from_json(value)
    assert caught.value.problem()["type"] == "urn:ietf:params:jmap:error:notRequest"
