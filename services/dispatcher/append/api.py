"""The append API put together: one way in over HTTP, one over NATS."""

import asyncio
from collections.abc import Collection

import asyncpg
import msgspec
from starlette.routing import Route

from services.dispatcher.append.appends import Appends
from services.dispatcher.append.bus_appends import BusAppends
from services.dispatcher.append.http_appends import HttpAppends
from services.dispatcher.append.in_hand import InHand, InHandLimits
from services.dispatcher.append.request import RequestLimits
from services.dispatcher.guard import Guard
from services.dispatcher.relay import Relay
from shared.bus.connection import Bus
from shared.http.authentication import Authenticator
from shared.log.guard import LogGuard
from shared.runtime.clock import Clock
from shared.runtime.metrics import Metrics
from shared.runtime.traces import Traces


class AppendResources(msgspec.Struct, frozen=True, kw_only=True):
    """What the append API stands on; `own_types` are the data types of this server itself."""

    pool: asyncpg.Pool
    authenticator: Authenticator
    relay: Relay
    guard: LogGuard
    clock: Clock
    metrics: Metrics
    own_types: Collection[str]
    traces: Traces = Traces()
    limits: RequestLimits = RequestLimits()
    in_hand: InHandLimits = InHandLimits()


class AppendApi:
    """Serve its routes, and `run` it in the process's task group."""

    def __init__(self, resources: AppendResources) -> None:
        clock, metrics, limits = resources.clock, resources.metrics, resources.limits
        self._appends = Appends(
            resources.pool,
            resources.relay,
            resources.guard,
            clock,
            metrics,
            own_types=frozenset(resources.own_types),
            limits=limits,
        )
        in_hand = InHand(resources.in_hand)
        guard = Guard(resources.authenticator, clock, metrics, resources.traces)
        self._http = HttpAppends(guard, self._appends, in_hand, limits)
        self._bus = BusAppends(
            self._appends,
            in_hand,
            resources.authenticator,
            clock=clock,
            metrics=metrics,
            traces=resources.traces,
        )

    def routes(self) -> list[Route]:
        return self._http.routes()

    async def run(self) -> None:
        """What both ways stand on; until cancelled."""
        await self._appends.run()

    async def answer_bus(self, bus: Bus, draining: asyncio.Event) -> None:
        """Beside `run`: until `draining` is set and the requests in hand were answered."""
        await self._bus.run(bus, draining)
