"""HTTP/1.1 as one POST needs it (RFC 9112): the request's octets, and the answer to it; no I/O.

What a parser of C takes apart is judged here: an endpoint is a stranger. Of an answer only the
status, Retry-After and the start of the body matter; once the status is known it has decided, and
whatever the rest does only costs the connection.
"""

import re
from typing import Any

import httptools

from services.webhooks.messages import PushRequest

ANSWER_OCTETS_MAX = 256 * 1024  # of one answer: a head that we would read, and interim ones
BODY_OCTETS_MAX = 2048  # read of an answer
_HEADERS_MAX = 64
_HEADER_OCTETS_MAX = 4096
_INTERIM_ANSWERS_MAX = 16
_STATUS_FINAL_MIN = 200
_VERSIONS = ("1.0", "1.1")
_SWITCHING_PROTOCOLS = 101  # never asked for: it ends what we understand (RFC 9110 section 15.2.2)

_NOT_IN_TARGET = re.compile(r"[^!-~]")
_NOT_IN_VALUE = re.compile(r"[^\t -~]")  # RFC 9110 section 5.5, without obs-text


class NotHttpError(Exception):
    """There is no status to be had from the answer."""


def request_octets(request: PushRequest) -> bytes:
    """The whole request (RFC 9112 section 3). Raises ValueError: it would be read as another one.

    The content is not asked to be coded, since it is not unpacked.
    """
    endpoint, body = request.endpoint, request.body
    if _NOT_IN_TARGET.search(endpoint.path):
        raise ValueError("the target holds what none may")
    host = endpoint.origin.partition("://")[2]
    head = f"POST {endpoint.path} HTTP/1.1\r\nHost: {host}\r\n"
    for name, value in request.headers.items():
        if _NOT_IN_VALUE.search(value):
            raise ValueError(f"the header {name} holds what none may")
        head += f"{name}: {value}\r\n"
    head += f"Content-Length: {len(body)}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n"
    return head.encode("ascii") + body


class AnswerReader:
    """The answers of one connection, in turn: `begin`, then `feed` until `is_complete`."""

    __slots__ = (
        "_headers_left",
        "_interim_left",
        "_octets_left",
        "_parser",
        "body",
        "is_complete",
        "is_last",
        "retry_after",
        "status",
    )

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """The next answer is to be that to a request sent now."""
        self.status = 0  # 0: not known yet
        self.retry_after: str | None = None
        self.body = b""  # its first BODY_OCTETS_MAX octets
        self.is_complete = False  # no more of it is wanted
        self.is_last = False  # the connection is good for no other request
        self._octets_left = ANSWER_OCTETS_MAX
        self._headers_left = _HEADERS_MAX
        self._interim_left = _INTERIM_ANSWERS_MAX

    def feed(self, data: bytes) -> None:
        """Raises NotHttpError."""
        within = data[: self._octets_left]
        self._octets_left -= len(within)
        try:
            self._parser.feed_data(within)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.feed_eof()
        if not self._octets_left:
            self.feed_eof()

    def feed_eof(self) -> None:
        """Nothing more is read. Raises NotHttpError."""
        self.is_last = True
        if not self.status:
            raise NotHttpError
        self.is_complete = True

    def on_message_begin(self) -> None:
        if self.status:  # an answer to nothing: it would be taken for that to the next request
            raise NotHttpError

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers_left -= 1
        if self._headers_left < 0 or len(name) + len(value) > _HEADER_OCTETS_MAX:
            raise NotHttpError
        if not self.status and name.lower() == b"retry-after":  # not from a trailer
            self.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._parser.get_http_version() not in _VERSIONS:
            raise NotHttpError
        if status >= _STATUS_FINAL_MIN or status == _SWITCHING_PROTOCOLS:
            self.status = status
            return
        self._interim_left -= 1
        if self._interim_left < 0:
            raise NotHttpError
        self.retry_after = None

    def on_body(self, data: bytes) -> None:
        self.body += data[: BODY_OCTETS_MAX - len(self.body)]
        if len(self.body) == BODY_OCTETS_MAX:
            self.is_complete = self.is_last = True

    def on_message_complete(self) -> None:
        if self.status:
            self.is_complete = True
            self.is_last = self.is_last or not self._parser.should_keep_alive()
