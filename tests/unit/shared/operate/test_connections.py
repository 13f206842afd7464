"""The words between operators and gateways; hostile ones, too."""

import msgspec
import pytest

from shared.operate.connections import (
    CloseConnections,
    ConnectionFilter,
    GatewayFacts,
    ListConnections,
    Question,
    Refused,
    ResyncConnections,
    ShowConnection,
    Unwatch,
    WatchConnections,
    Watched,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
    gateway_of,
)


@pytest.mark.parametrize(
    "question",
    [
        ListConnections(filter=ConnectionFilter(user="ada", is_stalled=True), count=3),
        ShowConnection(connection="4k2m9x-1"),
        CloseConnections(filter=ConnectionFilter(transport="sse"), by="ada@here", reason="old"),
        ResyncConnections(filter=ConnectionFilter(connection="4k2m9x-1"), by="ada@here"),
        WatchConnections(watch="w", filter=ConnectionFilter(), by="ada@here"),
        Unwatch(watch="w"),
    ],
)
def test_a_question_arrives_as_it_was_asked(question: Question) -> None:
    assert decode_question(encode_question(question)) == question


def test_an_answer_arrives_as_it_was_given() -> None:
    gateway = GatewayFacts(
        id="4k2m9x",
        host="h",
        started_at="2026-01-01T00:00:00.000Z",
        connections={"sse": 1},
        users=1,
        ended_kept=0,
        watches=0,
        cursor="c",
        is_live=True,
        is_draining=False,
    )
    for answer in (
        Refused(gateway=gateway, reason="no"),
        Watched(gateway="4k2m9x", number=1, connections=1, dropped=0, moments=()),
    ):
        assert decode_answer(encode_answer(answer)) == answer


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"ask":"format disk"}',
        b'{"ask":"list"}',
        b'{"ask":"list","filter":{"user":7}}',
        b'{"ask":"list","filter":{},"count":-1}',
        b'{"ask":"close","filter":{}}',
        b'{"ask":"close","filter":{},"by":"%s"}' % (b"x" * 201),
        b'{"ask":"watch","watch":"","filter":{},"by":"x"}',
        b'{"ask":"watch","watch":"w","filter":{},"by":"x","leaseSeconds":1e9}',
        b'{"ask":"list","filter":' * 10_000,
    ],
)
def test_what_is_no_question_is_refused(body: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, RecursionError)):
        decode_question(body)


def test_what_a_newer_process_adds_is_ignored() -> None:
    body = b'{"ask":"show","connection":"4k2m9x-1","colour":"blue"}'
    assert decode_question(body) == ShowConnection(connection="4k2m9x-1")


def test_a_connection_says_which_gateway_to_ask() -> None:
    assert gateway_of("4k2m9x-1f") == "4k2m9x"
