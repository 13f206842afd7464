"""/get and the arguments of methods (RFC 8620 section 5.1; checklist C-30, C-2a)."""

import json
from typing import Any

import pytest

from services.dispatcher.methods.arguments import GetArguments
from services.dispatcher.methods.get import check_properties, requested_ids, shown_record
from services.dispatcher.types.contacts import ADDRESS_BOOK, CONTACT_CARD
from shared.jmap.errors import MethodError
from tests.unit.services.dispatcher.methods.shelf import VIEWER


def shown(declared: Any, data: str, properties: list[str] | None = None) -> Any:
    raw = shown_record(declared, "x1", data.encode(), viewer=VIEWER, properties=properties)
    return json.loads(bytes(raw))


def test_ids_are_asked_once_and_resolved() -> None:
    arguments = GetArguments(account_id="a", ids=["b", "#k", "b", "#n"])
    assert requested_ids(arguments, {"k": "c1"}, 4) == ["b", "c1", "#n"]
    assert requested_ids(GetArguments(account_id="a"), {}, 4) is None
    with pytest.raises(MethodError) as caught:
        requested_ids(arguments, {}, 3)
    assert caught.value.type == "requestTooLarge"


def test_unknown_properties_are_refused() -> None:
    check_properties(CONTACT_CARD, None)
    check_properties(CONTACT_CARD, ["id", "name", "example.com:x"])
    with pytest.raises(MethodError):
        check_properties(CONTACT_CARD, ["nope"])


def test_a_record_is_shown_whole_or_in_part() -> None:
    assert shown(CONTACT_CARD, '{"a":1,"b":2}') == {"id": "x1", "a": 1, "b": 2}
    assert shown(CONTACT_CARD, "{}") == {"id": "x1"}
    assert shown(CONTACT_CARD, '{"a":1,"b":2}', ["b", "c", "id"]) == {"id": "x1", "b": 2}
    book = '{"name":"N","isSubscribed":{"u1":false}}'
    assert shown(ADDRESS_BOOK, book, ["isSubscribed"]) == {"id": "x1", "isSubscribed": False}
    assert shown(ADDRESS_BOOK, book)["myRights"]["mayWrite"]
