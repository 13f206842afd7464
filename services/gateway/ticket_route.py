"""`POST /jmap/ticket`: `{"ticket", "expires"}` for `?ticket=` on an event source or a WebSocket."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.entrance import (
    Authenticate,
    Refusal,
    database_answers,
    log_refusal,
    retry_after,
)
from services.gateway.tickets import Tickets, TooManyTicketsError
from shared.http.cross_origin import READABLE
from shared.http.request_line import asker_facts, log_request
from shared.runtime.clock import utc_text
from shared.store.credentials import Credential

_OK = 200


class TicketRoute:
    def __init__(
        self, authenticate: Authenticate, tickets: Tickets, *, now: Callable[[], float]
    ) -> None:
        self._authenticate = authenticate
        self._tickets = tickets
        self._now = now  # monotonic seconds

    async def answer(self, request: Request) -> Response:
        """A ticket is given for a token in the header, never for another ticket."""
        begun = self._now()
        try:
            credential, response = await self._issue(request.headers.get("authorization"))
        except Refusal as refusal:
            log_refusal(request.scope, refusal, self._now() - begun)
            return refusal.response()
        facts = {"http_method": request.method, **asker_facts(credential)}
        log_request("http", request.url.path, _OK, self._now() - begun, trace=None, facts=facts)
        return response

    async def _issue(self, authorization: str | None) -> tuple[Credential, Response]:
        """Raises Refusal."""
        async with database_answers():
            credential = await self._authenticate(authorization)
            try:
                ticket = await self._tickets.issue(credential)
            except TooManyTicketsError as error:
                raise Refusal(429, "too many tickets are not used yet", retry_after()) from error
        body = {"ticket": ticket.ticket, "expires": utc_text(ticket.expires)}
        response = Response(
            msgspec.json.encode(body),
            headers={"cache-control": "no-store", **READABLE},
            media_type="application/json",
        )
        return credential, response
