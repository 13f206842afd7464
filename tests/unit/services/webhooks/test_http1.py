"""RFC 9112: one POST as octets, and what is read of the answer, however it is cut up."""

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.http1 import (
    ANSWER_OCTETS_MAX,
    BODY_OCTETS_MAX,
    AnswerReader,
    NotHttpError,
    request_octets,
)
from services.webhooks.messages import PushRequest
from shared.web_push.endpoint import Endpoint, read_endpoint


def read(*pieces: bytes, is_ended: bool = False) -> AnswerReader:
    reader = AnswerReader()
    for piece in pieces:
        reader.feed(piece)
    if is_ended:
        reader.feed_eof()
    return reader


def test_a_request_is_what_other_parsers_read() -> None:
    request = PushRequest(
        endpoint=read_endpoint("https://push.example:8443/a/b?c=d"),
        headers={"Content-Type": "application/json", "TTL": "60"},
        body=b'{"a":1}\r\n\r\n',
    )
    server = h11.Connection(h11.SERVER)
    server.receive_data(request_octets(request))

    head = server.next_event()
    assert isinstance(head, h11.Request)
    assert (head.method, head.target) == (b"POST", b"/a/b?c=d")
    assert dict(head.headers) == {
        b"host": b"push.example:8443",
        b"content-type": b"application/json",
        b"ttl": b"60",
        b"content-length": b"11",
        b"accept": b"*/*",
        b"accept-encoding": b"identity",
    }
    body = server.next_event()
    assert isinstance(body, h11.Data)
    assert body.data == request.body
    assert isinstance(server.next_event(), h11.EndOfMessage)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://push.example/", b"push.example"),
        ("http://push.example:80/", b"push.example"),
        ("https://[2606:4700::1111]:8443/", b"[2606:4700::1111]:8443"),
    ],
)
def test_the_host_is_named_as_the_url_does(url: str, host: bytes) -> None:
    request = PushRequest(endpoint=read_endpoint(url), headers={}, body=b"")

    assert b"\r\nHost: %s\r\n" % host in request_octets(request)


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\ny", "a\0", "é", "\x7f"])
def test_no_header_becomes_two(value: str) -> None:
    request = PushRequest(
        endpoint=read_endpoint("https://push.example/"), headers={"Topic": value}, body=b""
    )

    with pytest.raises(ValueError, match="Topic"):
        request_octets(request)


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/é", "/\0"])
def test_no_target_becomes_a_header(path: str) -> None:
    endpoint = Endpoint(scheme="https", host="push.example", port=443, path=path)

    with pytest.raises(ValueError, match="target"):
        request_octets(PushRequest(endpoint=endpoint, headers={}, body=b""))


def test_an_answer_is_read() -> None:
    reader = read(b"HTTP/1.1 429 Slow\r\nRETRY-after: 7\r\nContent-Length: 2\r\n\r\nno")

    assert (reader.status, reader.retry_after, reader.body) == (429, "7", b"no")
    assert reader.is_complete
    assert not reader.is_last


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 201 Created\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\nHTTP/1.1 410 Gone\r\n\r\n",
        b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\ngarbage",
        b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s"
        % (BODY_OCTETS_MAX + 1, b"x" * BODY_OCTETS_MAX),
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: \0\r\n\r\n",
    ],
)
def test_some_answers_are_the_last_of_their_connection(answer: bytes) -> None:
    reader = read(answer)

    assert reader.status == 201
    assert reader.is_complete
    assert reader.is_last


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    """RFC 9112 section 6.3."""
    reader = read(b"HTTP/1.1 %d -\r\nContent-Length: 5\r\n\r\n" % status)

    assert reader.is_complete
    assert not reader.is_last


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\nab"
    assert not read(answer).is_complete

    reader = read(answer, is_ended=True)
    assert (reader.status, reader.body) == (200, b"ab")
    assert reader.is_complete
    assert reader.is_last


def test_chunks_are_put_together_and_their_trailers_say_nothing() -> None:
    head = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader = read(head + b"2;a=b\r\nno\r\n1\r\n!\r\n0\r\nRetry-After: 9\r\n\r\n")

    assert (reader.status, reader.body, reader.retry_after) == (503, b"no!", None)
    assert not reader.is_last


def test_interim_answers_are_passed_over() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 1\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    reader = read(early)
    assert not reader.status

    reader.feed(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (reader.status, reader.retry_after, reader.is_last) == (204, None, False)


def test_a_switch_of_protocols_is_the_end() -> None:
    reader = read(
        b"HTTP/1.1 101 -\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    )

    assert (reader.status, reader.is_complete, reader.is_last) == (101, True, True)


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 65 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: %s\r\n\r\n" % (b"b" * 4096),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * ANSWER_OCTETS_MAX,
    ],
)
def test_what_is_not_http_or_too_much_has_no_status(answer: bytes) -> None:
    with pytest.raises(NotHttpError):
        read(answer)


def test_an_end_before_the_status_is_no_answer() -> None:
    with pytest.raises(NotHttpError):
        read(b"HTTP/1.1 200 OK\r\nContent-Le", is_ended=True)


def test_the_next_answer_of_a_connection_is_read_anew() -> None:
    reader = read(b"HTTP/1.1 503 -\r\nRetry-After: 9\r\nContent-Length: 2\r\n\r\nno")
    reader.begin()
    reader.feed(b"HTTP/1.1 201 -\r\nContent-Length: 0\r\n\r\n")

    assert (reader.status, reader.retry_after, reader.body) == (201, None, b"")
    assert not reader.is_last


LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 410 Gone\r\n",
        b"HTTP/1.1 204 \r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"A:\tb \r\n",
        b" folded\r\n",
        b"\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"abc",
        b"\n",
        b"\0",
        b":",
    ]
)


@given(
    st.one_of(st.lists(LINES, max_size=10).map(b"".join), st.binary(max_size=60)),
    st.lists(st.integers(1, 80), max_size=6),
)
def test_an_answer_means_the_same_however_it_is_cut_up_and_to_another_parser(
    answer: bytes, places: list[int]
) -> None:
    """h11 is the other one; where it finds an answer and we none, we are the stricter."""
    cuts = [0, *sorted({place for place in places if place < len(answer)}), len(answer)]
    pieces = [answer[start:end] for start, end in itertools.pairwise(cuts)]

    whole, cut = _status(answer), _status(*pieces)
    assert whole == cut
    theirs = _status_of_h11(answer)
    assert whole in (0, theirs) or theirs == 0


def _status(*pieces: bytes) -> int:
    reader = AnswerReader()
    try:
        for piece in pieces:
            if not reader.is_complete:
                reader.feed(piece)
    except NotHttpError:
        return 0
    return reader.status


def _status_of_h11(answer: bytes) -> int:
    client = h11.Connection(h11.CLIENT)
    client.send(
        h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")])
    )
    client.send(h11.EndOfMessage())
    client.receive_data(answer)
    try:
        while True:
            event = client.next_event()
            if isinstance(event, h11.Response):
                return event.status_code
            if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return 0
    except h11.RemoteProtocolError:
        return 0
