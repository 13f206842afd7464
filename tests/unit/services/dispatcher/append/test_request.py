"""What a producer may ask."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.append.request import (
    RequestLimits,
    digest_of,
    given_from_json,
    key_from,
)
from shared.jmap.errors import RequestError
from shared.log.event import GivenState

OWN = frozenset({"ContactCard", "AddressBook"})
LIMITS = RequestLimits()


def parse(value: Any, limits: RequestLimits = LIMITS) -> Any:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return given_from_json(body, OWN, limits)


def change(changed: Any, **more: Any) -> dict[str, Any]:
    return {"@type": "StateChange", "changed": changed, **more}


def refusal(value: Any, limits: RequestLimits = LIMITS) -> RequestError:
    with pytest.raises(RequestError) as raised:
        parse(value, limits)
    return raised.value


def test_a_state_change_is_its_states_without_an_order() -> None:
    body = change({"a1": {"Email": "s1", "Mailbox": "s1"}, "a2": {"Thread": "x y"}})
    assert parse(body) == {
        "a1": {"Email": GivenState("s1"), "Mailbox": GivenState("s1")},
        "a2": {"Thread": GivenState("x y")},
    }


def test_each_state_may_have_an_order() -> None:
    body = change(
        {"a1": {"Email": "s1", "Mailbox": "s1"}, "a2": {"Email": "s9"}},
        order={"a1": {"Email": 41, "Mailbox": None}},
    )
    assert parse(body) == {
        "a1": {"Email": GivenState("s1", 41), "Mailbox": GivenState("s1")},
        "a2": {"Email": GivenState("s9")},
    }
    assert parse(change({"a1": {"Email": "s"}}, order=None)) == {"a1": {"Email": GivenState("s")}}


def test_the_push_state_of_a_websocket_is_read_over() -> None:
    assert parse(change({"a1": {"Email": "s1"}}, pushState="1.x.1"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"@type":"StateChange","changed":{},"changed":{}}',
        b"[" * 100_000,
        b'{"@type":"StateChange","changed":{"a":{"Email":[[[[[1]]]]]}}}',
        b'{"@type":"StateChange","changed":{"a":{"Email":"\\ud800"}}}',
        b'{"@type":"StateChange","changed":{"a":{"Email":"s"}},"order":{"a":{"Email":1e999}}}',
        b'{"@type":"StateChange","changed":{"a":{"Email":"s"}},"order":{"a":{"Email":%d}}}' % 2**53,
    ],
)
def test_what_is_no_i_json_is_refused(body: bytes) -> None:
    error = refusal(body)
    assert (error.http_status, error.type.rpartition(":")[2]) == (400, "notJSON")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"changed": {"a1": {"Email": "s"}}},
        {"@type": "Statechange", "changed": {"a1": {"Email": "s"}}},
        change(None),
        change([]),
        change({}),
        change({"a1": {}}),
        change({"a1": None}),
        change({"a1": "s"}),
        change({"a 1": {"Email": "s"}}),
        change({"": {"Email": "s"}}),
        change({"a\n1": {"Email": "s"}}),
        change({"a.b": {"Email": "s"}}),
        change({"a1": {"": "s"}}),
        change({"a1": {"*": "s"}}),
        change({"a1": {"Email,Mailbox": "s"}}),
        change({"a1": {"E" * 256: "s"}}),
        change({"a1": {"Email": ""}}),
        change({"a1": {"Email": 41}}),
        change({"a1": {"Email": None}}),
        change({"a1": {"Email": ["s", 1]}}),
        change({"a1": {"Email": "s\n"}}),
        change({"a1": {"Email": "s\0"}}),
        change({"a1": {"Email": "\u202e"}}),
        change({"a1": {"Email": "s" * 256}}),
        change({"a1": {"Email": "é" * 128}}),
        change({"a1": {"Email": "s"}}, order=1),
        change({"a1": {"Email": "s"}}, order={"a1": 1}),
        change({"a1": {"Email": "s"}}, order={"a2": {"Email": 1}}),
        change({"a1": {"Email": "s"}}, order={"a1": {"Mailbox": 1}}),
        change({"a1": {"Email": "s"}}, order={"a1": {"Email": -1}}),
        change({"a1": {"Email": "s"}}, order={"a1": {"Email": 1.5}}),
        change({"a1": {"Email": "s"}}, order={"a1": {"Email": True}}),
        change({"a1": {"Email": "s"}}, order={"a1": {"Email": "1"}}),
        change({"a1": {"Email": "s"}}, orders={"a1": {"Email": 1}}),
    ],
)
def test_what_is_no_state_change_is_refused(value: Any) -> None:
    error = refusal(value)
    assert (error.http_status, error.type.rpartition(":")[2]) == (400, "notRequest")


def test_the_types_of_this_server_are_nobody_elses() -> None:
    error = refusal(change({"a1": {"Email": "s1", "ContactCard": "s1"}}))
    assert (error.http_status, error.type.rpartition(":")[2]) == (403, "forbidden")
    assert "ContactCard" in error.detail


@pytest.mark.parametrize(
    ("limits", "name", "status"),
    [
        (RequestLimits(max_size_request=50), "maxSizeRequest", 413),
        (RequestLimits(max_accounts_in_append=1), "maxAccountsInAppend", 400),
        (RequestLimits(max_states_in_append=2), "maxStatesInAppend", 400),
    ],
)
def test_the_limits_of_a_request_are_named(limits: RequestLimits, name: str, status: int) -> None:
    body = change({"a1": {"Email": "s", "Mailbox": "s"}, "a2": {"Email": "s"}})
    assert parse(body)
    error = refusal(body, limits)
    assert (error.limit, error.http_status) == (name, status)


def test_a_key_is_printable_ascii() -> None:
    assert key_from(None) is None
    assert key_from("8e03978e-40d5-43dd-bc93-6894a57f9324") is not None
    for wrong in ("", "a b", "a" * 256, "é", "a\n"):
        with pytest.raises(RequestError):
            key_from(wrong)


def test_the_digest_tells_requests_apart() -> None:
    assert digest_of(b"a") == digest_of(b"a") != digest_of(b"b")


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**54) | st.text(max_size=4) | st.floats(-1, 1),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["@type", "changed", "order", "a1", "Email"]) | st.text(max_size=3),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.binary(max_size=80) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_sent_is_an_append_or_a_refusal(body: bytes) -> None:
    refused: RequestError | None = None
    asked = {}
    try:
        asked = parse(body)
    except RequestError as error:
        refused = error
    assert all(asked.values())
    assert bool(asked) is (refused is None)
    assert refused is None or 400 <= refused.http_status < 500
