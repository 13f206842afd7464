"""RFC 8887 section 4.3."""

import json

import pytest

from services.gateway.websocket_messages import (
    LIMIT,
    NOT_JSON,
    NOT_REQUEST,
    MessageError,
    PushDisable,
    PushEnable,
    RequestMessage,
    decode_message,
    encode_error,
    encode_problem,
    encode_response,
)


def refused(body: bytes) -> MessageError:
    with pytest.raises(MessageError) as error:
        decode_message(body)
    return error.value


def test_a_request_keeps_its_bytes() -> None:
    body = b'{"@type":"Request","id":"R1","using":[],"methodCalls":[]}'

    assert decode_message(body) == RequestMessage("R1", body)
    assert decode_message(b'{"@type":"Request"}') == RequestMessage(None, b'{"@type":"Request"}')


def test_push_is_enabled_for_some_types_or_for_all() -> None:
    some = b'{"@type":"WebSocketPushEnable","dataTypes":["Email","NoSuch"],"pushState":"c1"}'

    assert decode_message(some) == PushEnable(frozenset({"Email", "NoSuch"}), "c1")
    assert decode_message(b'{"@type":"WebSocketPushEnable","dataTypes":null}') == PushEnable(
        None, None
    )
    assert decode_message(b'{"@type":"WebSocketPushEnable"}') == PushEnable(None, None)
    assert decode_message(b'{"@type":"WebSocketPushEnable","dataTypes":[]}') == PushEnable(
        frozenset(), None
    )


def test_a_hostile_push_state_is_cut_short_and_no_error() -> None:
    enable = decode_message(b'{"@type":"WebSocketPushEnable","pushState":"%b"}' % (b"x" * 9999))

    assert enable == PushEnable(None, "x" * 256)


def test_push_is_disabled() -> None:
    assert decode_message(b'{"@type":"WebSocketPushDisable"}') == PushDisable()


@pytest.mark.parametrize(
    "body", [b"", b"The quick brown fox", b'{"@type":', b'{"a":' + b"[" * 100_000]
)
def test_what_is_not_json_is_told_so(body: bytes) -> None:
    error = refused(body)

    assert (error.type, error.request_id) == (NOT_JSON, None)


@pytest.mark.parametrize("body", [b"[]", b"[" * 100_000, b"null", b'"Request"', b"7"])
def test_what_is_no_object_is_no_request(body: bytes) -> None:
    assert refused(body).type == NOT_REQUEST


@pytest.mark.parametrize(
    "members",
    [
        '"@type":"Nonsense"',
        '"using":[]',
        '"@type":7',
        '"@type":"WebSocketPushEnable","dataTypes":"Email"',
        '"@type":"WebSocketPushEnable","dataTypes":[1]',
        '"@type":"WebSocketPushEnable","dataTypes":[""]',
        '"@type":"WebSocketPushEnable","pushState":7',
    ],
)
def test_the_id_is_echoed_with_an_error(members: str) -> None:
    error = refused(f'{{"id":"R1",{members}}}'.encode())

    assert (error.type, error.request_id) == (NOT_REQUEST, "R1")


def test_an_id_that_is_no_string_is_not_echoed() -> None:
    assert decode_message(b'{"@type":"Request","id":7}') == RequestMessage(
        None, b'{"@type":"Request","id":7}'
    )


def test_a_response_gets_its_type_and_the_id_of_its_request() -> None:
    assert json.loads(encode_response(b' {"sessionState":"1"}', "R1")) == {
        "@type": "Response",
        "requestId": "R1",
        "sessionState": "1",
    }
    assert encode_response(b"{}", None) == b'{"@type":"Response"}'
    assert encode_response(b"{ }", "R1") == b'{"@type":"Response","requestId":"R1" }'


def test_a_problem_becomes_a_request_error() -> None:
    assert json.loads(encode_problem(b'{"status":400}', None)) == {
        "@type": "RequestError",
        "requestId": None,
        "status": 400,
    }


def test_an_error_says_which_limit_was_reached() -> None:
    error = MessageError(LIMIT, "too much", request_id="R1", limit="maxConcurrentRequests")

    assert json.loads(encode_error(error)) == {
        "@type": "RequestError",
        "requestId": "R1",
        "type": "urn:ietf:params:jmap:error:limit",
        "status": 400,
        "detail": "too much",
        "limit": "maxConcurrentRequests",
    }


def test_an_error_without_a_limit_names_none() -> None:
    assert json.loads(encode_error(MessageError(NOT_JSON, "no"))) == {
        "@type": "RequestError",
        "requestId": None,
        "type": NOT_JSON,
        "status": 400,
        "detail": "no",
    }
