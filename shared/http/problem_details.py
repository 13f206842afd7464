"""Errors of the HTTP surface as problem details (RFC 7807)."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from shared.jmap.i_json import JsonObject, encode_json

MEDIA_TYPE = "application/problem+json"


def problem_response(
    problem: JsonObject, status: int, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(encode_json(problem), status, headers, MEDIA_TYPE)


def problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, *, type_: str | None = None
) -> Response:
    """A problem that has no type of its own: what its HTTP status says, and the detail."""
    return problem_response(
        {
            "type": type_ or "about:blank",
            "status": status,
            "title": HTTPStatus(status).phrase,
            "detail": detail,
        },
        status,
        headers,
    )
