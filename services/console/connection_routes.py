"""Connected clients, of all gateways (docs/adr/0017)."""

from collections.abc import Sequence
from typing import Annotated, get_args

import asyncpg
import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from services.console.endpoints import Endpoint, Parameter
from services.console.entrance import Operator, json_answer, read_json
from services.console.query import Query
from services.console.refusals import Refusal
from services.console.subscription_routes import id_of
from shared.bus.connection import Bus
from shared.operate.connections import ConnectionDetails, ConnectionFilter, Transport, gateway_of
from shared.operate.gateways import Effect, Gateways, GatewaySilentError, Listing
from shared.store.people import find_account

LIMIT = 100
LIMIT_MAX = 1_000

_LISTED = (
    Parameter("user", "Of this user, by id or name."),
    Parameter("account", "That listen to this account, by id or name."),
    Parameter("address", "From this address."),
    Parameter("credential", "With this token, by id."),
    Parameter("transport", "sse or websocket."),
    Parameter("stalled", "true: whose client takes nothing now."),
    Parameter("phase", "open, or ended: in the last minutes."),
    Parameter("limit", f"At most so many: {LIMIT}, or up to {LIMIT_MAX}.", "number"),
)


class Closing(msgspec.Struct, frozen=True):
    """May be left out."""

    reason: Annotated[str, Meta(max_length=200)] = ""  # for the logs


class ConnectionRoutes:
    def __init__(self, pool: asyncpg.Pool, bus: Bus) -> None:
        self._pool = pool
        self._bus = bus

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="GET",
                path="/connections",
                name="listConnections",
                meaning="The connections of all gateways, the newest first.",
                answer=self._list,
                parameters=_LISTED,
                result=Listing,
            ),
            Endpoint(
                method="GET",
                path="/connections/{id}",
                name="showConnection",
                meaning="One, open or ended in the last minutes, with its last moments.",
                answer=self._show,
                result=ConnectionDetails,
            ),
            Endpoint(
                method="POST",
                path="/connections/{id}/close",
                name="closeConnection",
                meaning="Close it. Its client may come back: revoke its token to keep it out.",
                answer=self._close,
                body=Closing,
                result=Effect,
                action="connection close",
            ),
            Endpoint(
                method="POST",
                path="/connections/{id}/resync",
                name="resyncConnection",
                meaning="Tell it the newest state of everything, as if it were new.",
                answer=self._resync,
                result=Effect,
                action="connection resync",
            ),
        )

    async def _list(self, request: Request, operator: Operator) -> Response:
        query = Query(request.query_params.multi_items(), _LISTED)
        account = query.text("account")
        transport = query.choice("transport", get_args(Transport))
        wanted = ConnectionFilter(
            user=query.text("user"),
            account=None if account is None else await find_account(self._pool, account),
            address=query.text("address"),
            credential=query.text("credential"),
            transport=msgspec.convert(transport, Transport | None),
            is_stalled=query.choice("stalled", ("true", "false")) == "true",
        )
        listing = await self._gateways(operator).find(
            wanted,
            count=query.number("limit", default=LIMIT, maximum=LIMIT_MAX),
            ended=query.choice("phase", ("open", "ended")) == "ended",
        )
        return json_answer(listing)

    async def _show(self, request: Request, operator: Operator) -> Response:
        return json_answer(await self._gateways(operator).show(id_of(request)))

    async def _close(self, request: Request, operator: Operator) -> Response:
        is_given = "content-type" in request.headers
        closing = await read_json(request, Closing) if is_given else Closing()
        wanted = ConnectionFilter(connection=id_of(request))
        effect = await self._gateways(operator).close(wanted, reason=closing.reason)
        return _done(effect, id_of(request))

    async def _resync(self, request: Request, operator: Operator) -> Response:
        wanted = ConnectionFilter(connection=id_of(request))
        return _done(await self._gateways(operator).resync(wanted), id_of(request))

    def _gateways(self, operator: Operator) -> Gateways:
        return Gateways(self._bus, by=operator.name)


def _done(effect: Effect, connection_id: str) -> Response:
    """Raises Refusal, GatewaySilentError."""
    if not effect.count and gateway_of(connection_id) in effect.silent:
        raise GatewaySilentError(connection_id)
    if not effect.count:
        raise Refusal(404, "No such connection is open.")
    return json_answer(effect)
