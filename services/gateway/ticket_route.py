"""`POST /jmap/ticket`: `{"ticket", "expires"}` for `?ticket=` on an event source or a WebSocket."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.entrance import Authenticate, Refusal, database_answers, retry_after
from services.gateway.tickets import Tickets, TooManyTicketsError
from shared.http.cross_origin import READABLE
from shared.runtime.clock import utc_text


class TicketRoute:
    def __init__(self, authenticate: Authenticate, tickets: Tickets) -> None:
        self._authenticate = authenticate
        self._tickets = tickets

    async def answer(self, request: Request) -> Response:
        """A ticket is given for a token in the header, never for another ticket."""
        try:
            async with database_answers():
                credential = await self._authenticate(request.headers.get("authorization"))
                ticket = await self._tickets.issue(credential)
        except Refusal as refusal:
            return refusal.response()
        except TooManyTicketsError:
            return Refusal(429, "too many tickets are not used yet", retry_after()).response()
        body = {"ticket": ticket.ticket, "expires": utc_text(ticket.expires)}
        return Response(
            msgspec.json.encode(body),
            headers={"cache-control": "no-store", **READABLE},
            media_type="application/json",
        )
