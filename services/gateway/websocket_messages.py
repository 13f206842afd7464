"""The messages of JMAP over WebSocket (RFC 8887 section 4.3); no I/O."""

from typing import TypeAlias

import msgspec

from services.gateway.event_source_query import CURSOR_LENGTH_MAX, QueryError, types_from
from services.gateway.push_connection import Types

NOT_JSON = "urn:ietf:params:jmap:error:notJSON"
NOT_REQUEST = "urn:ietf:params:jmap:error:notRequest"
LIMIT = "urn:ietf:params:jmap:error:limit"
SERVER_UNAVAILABLE = "urn:ietf:params:jmap:error:serverUnavailable"
SERVER_FAIL = "urn:ietf:params:jmap:error:serverFail"


class RequestMessage(msgspec.Struct, frozen=True):
    """`body` is the whole message: a dispatcher ignores the two arguments that it adds."""

    id: str | None
    body: bytes


class PushEnable(msgspec.Struct, frozen=True):
    types: Types
    cursor: str | None


class PushDisable(msgspec.Struct, frozen=True):
    pass


Message: TypeAlias = RequestMessage | PushEnable | PushDisable


class MessageError(Exception):
    """Is answered with a RequestError (RFC 8887 section 4.3.4)."""

    def __init__(
        self,
        type_: str,
        detail: str,
        *,
        request_id: str | None = None,
        status: int = 400,
        limit: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.type = type_
        self.detail = detail
        self.request_id = request_id
        self.status = status
        self.limit = limit


class _Loose(msgspec.Struct, rename={"type": "@type", "types": "dataTypes", "cursor": "pushState"}):
    type: msgspec.Raw = msgspec.Raw(b"null")
    id: msgspec.Raw = msgspec.Raw(b"null")
    types: msgspec.Raw = msgspec.Raw(b"null")
    cursor: msgspec.Raw = msgspec.Raw(b"null")


_loose = msgspec.json.Decoder(_Loose)
_texts = msgspec.json.Decoder(str)
_names = msgspec.json.Decoder(list[str] | None)
_optional_texts = msgspec.json.Decoder(str | None)


def decode_message(body: bytes) -> Message:
    """Raises MessageError."""
    try:
        loose = _loose.decode(body)
    except msgspec.ValidationError as error:
        raise MessageError(NOT_REQUEST, "A message is one JSON object.") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(NOT_JSON, "The message is not JSON, or nested too deep.") from error
    request_id = _text(loose.id)
    match _text(loose.type):
        case "Request":
            return RequestMessage(request_id, body)
        case "WebSocketPushEnable":
            return PushEnable(_types(loose.types, request_id), _cursor(loose.cursor, request_id))
        case "WebSocketPushDisable":
            return PushDisable()
        case _:
            raise MessageError(
                NOT_REQUEST,
                '"@type" must be "Request", "WebSocketPushEnable" or "WebSocketPushDisable".',
                request_id=request_id,
            )


def encode_response(response: bytes, request_id: str | None) -> bytes:
    """A Response of the API as one of the WebSocket."""
    return _extended(response, "Response", {} if request_id is None else {"requestId": request_id})


def encode_problem(problem: bytes, request_id: str | None) -> bytes:
    """Problem details of the API as a RequestError."""
    return _extended(problem, "RequestError", {"requestId": request_id})


def encode_error(error: MessageError) -> bytes:
    problem: dict[str, object] = {
        "type": error.type,
        "status": error.status,
        "detail": error.detail,
    }
    if error.limit is not None:
        problem["limit"] = error.limit
    return encode_problem(msgspec.json.encode(problem), error.request_id)


def _extended(body: bytes, type_: str, more: dict[str, str | None]) -> bytes:
    """The object with members before its own, which are not looked at."""
    head = msgspec.json.encode({"@type": type_, **more})
    rest = body.lstrip()[1:]
    return head[:-1] + (b"," if rest.lstrip()[:1] != b"}" else b"") + rest


def _text(raw: msgspec.Raw) -> str | None:
    try:
        return _texts.decode(raw)
    except msgspec.DecodeError:
        return None


def _types(raw: msgspec.Raw, request_id: str | None) -> Types:
    try:
        names = _names.decode(raw)
        return None if names is None else types_from(names)
    except (msgspec.DecodeError, QueryError) as error:
        raise MessageError(
            NOT_REQUEST,
            '"dataTypes" must be null or an array of type names.',
            request_id=request_id,
        ) from error


def _cursor(raw: msgspec.Raw, request_id: str | None) -> str | None:
    try:
        cursor = _optional_texts.decode(raw)
    except msgspec.DecodeError as error:
        raise MessageError(
            NOT_REQUEST, '"pushState" must be a string.', request_id=request_id
        ) from error
    return None if cursor is None else cursor[:CURSOR_LENGTH_MAX]
