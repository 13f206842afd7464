"""What pages of other origins may do (CORS): everything.

A token travels in a header, and a ticket in a URL, never by itself as a cookie would: whoever can
send one has it.
"""

from starlette.requests import Request
from starlette.responses import Response

ANY_ORIGIN = {"Access-Control-Allow-Origin": "*"}
READABLE = {
    **ANY_ORIGIN,
    "Access-Control-Expose-Headers": "ETag, X-Request-Id, Retry-After, WWW-Authenticate",
}
"""For each answer, also those that refuse: else a page cannot know why."""

_PREFLIGHT = {
    **ANY_ORIGIN,
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Idempotency-Key, If-None-Match, Range, Last-Event-ID, "
        "traceparent"
    ),
    "Access-Control-Max-Age": "86400",
}


async def answer_preflight(request: Request) -> Response:
    """To OPTIONS, which a browser sends without a token."""
    del request
    return Response(status_code=204, headers=_PREFLIGHT)
