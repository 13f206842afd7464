"""What the gateways remember of connections (docs/adr/0017)."""

import msgspec

from shared.bus.connection import Bus, BusUnavailableError
from shared.operate.connections import ConnectionDetails, ConnectionFilter
from shared.operate.gateways import (
    Gateways,
    Listing,
    NoGatewayError,
    UnknownConnectionError,
)

_OF_USER_MAX = 50  # connections, and as many that ended


class ConnectionEvidence(msgspec.Struct, frozen=True):
    """A connection, and how far its gateway has passed the log on."""

    details: ConnectionDetails
    gateway_cursor: str | None


class OfUser(msgspec.Struct, frozen=True):
    """The newest first. `silent`: gateways that should have answered; `is_more`: than are here."""

    connections: tuple[ConnectionEvidence, ...]
    silent: tuple[str, ...] = ()
    is_any_gateway_there: bool = True
    is_more: bool = False


class ConnectionReader:
    """`bus` None: NATS cannot be reached, and so no gateway."""

    def __init__(self, bus: Bus | None, *, by: str) -> None:
        self._gateways = None if bus is None else Gateways(bus, by=by)

    async def connection(self, connection_id: str) -> ConnectionEvidence:
        """Raises UnknownConnectionError, BusUnavailableError."""
        wanted = ConnectionFilter(connection=connection_id)
        try:  # before the connection, which must not seem to have missed what came in between
            cursors = _cursors(await self._asked.find(wanted, count=0))
        except NoGatewayError:
            cursors = {}
        details = await self._asked.show(connection_id)
        return ConnectionEvidence(details, cursors.get(details.gateway))

    async def of_user(self, user_id: str) -> OfUser:
        """Those that are open, and those that ended lately."""
        wanted = ConnectionFilter(user=user_id)
        try:
            found = await self._asked.find(wanted, count=_OF_USER_MAX)
            ended = await self._asked.find(wanted, count=_OF_USER_MAX, ended=True)
        except (NoGatewayError, BusUnavailableError):
            return OfUser((), is_any_gateway_there=False)
        cursors = _cursors(found)
        connections: list[ConnectionEvidence] = []
        for facts in (*found.connections, *ended.connections):
            try:
                details = await self._asked.show(facts.id)
            except UnknownConnectionError:  # forgotten meanwhile
                continue
            connections.append(ConnectionEvidence(details, cursors.get(details.gateway)))
        return OfUser(
            tuple(connections),
            tuple(sorted({*found.silent, *ended.silent})),
            is_more=found.is_more or ended.is_more,
        )

    @property
    def _asked(self) -> Gateways:
        if self._gateways is None:
            raise BusUnavailableError("no NATS server answers")
        return self._gateways


def _cursors(listing: Listing) -> dict[str, str]:
    return {gateway.id: gateway.cursor for gateway in listing.gateways}
