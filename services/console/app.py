"""The console put together: its resources, its routes, its loops (docs/adr/0019)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from services.console.account_names import AccountNames
from services.console.account_routes import AccountRoutes
from services.console.connection_routes import ConnectionRoutes
from services.console.documents import openapi_document
from services.console.endpoints import Endpoint, Endpoints
from services.console.entrance import Entrance, LoggedIn, Operator, Token, json_answer
from services.console.event_history import EventHistory
from services.console.event_routes import EventRoutes
from services.console.explain_routes import ExplainRoutes
from services.console.live_events import LiveEvents
from services.console.overview import Overviews
from services.console.overview_routes import OverviewRoutes
from services.console.replay_routes import OpenTarget, ReplayRoutes
from services.console.security import SecurityHeaders
from services.console.settings import ConsoleSettings, ServerSettings
from services.console.static_files import StaticFiles
from services.console.subscription_routes import SubscriptionRoutes
from shared.bus.connection import Bus, BusUnavailableError, open_bus, watch_buses
from shared.bus.control import listen_control
from shared.http.authentication import Authenticator
from shared.http.health import health_routes
from shared.http.issuer import JwtSettings, issuer_of
from shared.http.problem_details import problem
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.lifetime import draining_on_signals
from shared.runtime.metrics import Metrics
from shared.runtime.serve import HttpSettings, listen, serve
from shared.runtime.traces import Traces
from shared.store.migrate import require_migrations
from shared.store.pool import open_pool, watch_pool
from shared.web_push.sealing import Vault


class ConsoleBuses(msgspec.Struct, frozen=True):
    """Made by `open_console_buses`: what is read at leisure holds up neither events nor answers."""

    ask: Bus
    history: Bus
    live: Bus


class ConsoleResources(msgspec.Struct, frozen=True, kw_only=True):
    """What the console stands on; `up` shares most of it with the others."""

    pool: asyncpg.Pool
    authenticator: Authenticator
    vault: Vault
    buses: ConsoleBuses
    clock: Clock
    metrics: Metrics
    open_replay_target: OpenTarget
    origin_at_once_max: int  # of the deliverers, for explanations
    settings: ConsoleSettings = ConsoleSettings()
    traces: Traces = Traces()


class Console:
    """Serve its routes, and `run` it."""

    def __init__(self, resources: ConsoleResources) -> None:
        settings = resources.settings
        pool, clock, buses = resources.pool, resources.clock, resources.buses
        self._files = StaticFiles()
        self._entrance = Entrance(resources.authenticator, resources.vault, clock, settings)
        names = AccountNames(pool, clock)
        self._history = history = EventHistory(buses.history)
        self._live = LiveEvents(
            buses.live,
            names,
            viewers_max=settings.viewers_max,
            waiting_max=settings.viewer_events_max,
        )
        events = EventRoutes(pool, self._entrance, history, self._live, names, clock)
        self._ask = buses.ask
        self._overviews = Overviews(pool, buses.ask, clock)
        parts = (
            OverviewRoutes(self._overviews),
            events,
            AccountRoutes(pool, events),
            SubscriptionRoutes(pool, buses.ask, resources.vault),
            ConnectionRoutes(pool, buses.ask),
            ExplainRoutes(
                pool,
                buses.ask,
                resources.vault,
                clock,
                origin_at_once_max=resources.origin_at_once_max,
            ),
        )
        self._replays = ReplayRoutes(
            pool,
            buses.history,
            self._entrance,
            clock,
            resources.open_replay_target,
            replays_max=settings.replays_max,
        )
        self.endpoints = (
            *self._session_endpoints(),
            *(endpoint for part in parts for endpoint in part.endpoints()),
            *self._replays.endpoints(),
            self._document(),
        )
        self._api = Endpoints(self._entrance, clock, resources.metrics, resources.traces)

    def routes(self) -> list[BaseRoute]:
        app = Starlette(
            routes=[
                *self._api.routes(self.endpoints),
                Route("/", self._files.index),
                Route("/static/{path:path}", self._files.file),
            ],
            exception_handlers={404: _not_found, 405: _not_allowed},
        )
        return [
            Route("/console", SecurityHeaders(Route("/console", _redirect).app)),
            Mount("/console", SecurityHeaders(app)),
        ]

    async def check(self) -> None:
        """Raises while neither the log nor a gateway can be asked."""
        if not self._ask.is_connected:
            raise BusUnavailableError("NATS is away")

    async def run(self, draining: asyncio.Event) -> None:
        """Until `draining`, when the streams of events end."""
        async with asyncio.TaskGroup() as tasks:
            loops = [
                tasks.create_task(self._live.run(), name="live_events"),
                tasks.create_task(self._overviews.run(), name="samples"),
            ]
            await draining.wait()
            self._live.close()
            self._replays.close()
            for loop in loops:
                loop.cancel()

    def _session_endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="POST",
                path="/session",
                name="logIn",
                meaning="Log in with a token of the scope `operate`: sets a cookie.",
                open_answer=self._entrance.log_in,
                body=Token,
                result=LoggedIn,
            ),
            Endpoint(
                method="GET",
                path="/session",
                name="whoAmI",
                meaning="Who is logged in.",
                answer=self._entrance.who,
                result=LoggedIn,
            ),
            Endpoint(
                method="DELETE",
                path="/session",
                name="logOut",
                meaning="Take the cookie away.",
                open_answer=self._entrance.log_out,
                status=204,
            ),
        )

    def _document(self) -> Endpoint:
        return Endpoint(
            method="GET",
            path="/openapi.json",
            name="openapi",
            meaning="This document.",
            answer=self._openapi,
        )

    async def _openapi(self, request: Request, operator: Operator) -> Response:
        del request, operator
        return json_answer(openapi_document(self.endpoints))


async def _redirect(request: Request) -> Response:
    del request
    return RedirectResponse("/console/", 308)


async def _not_found(request: Request, error: Exception) -> Response:
    del request, error
    return problem(404, "There is nothing here.")


async def _not_allowed(request: Request, error: Exception) -> Response:
    del request, error
    return problem(405, "This method is none of its.")


@asynccontextmanager
async def open_console_buses(nats_url: str) -> AsyncIterator[ConsoleBuses]:
    """Raises BusUnavailableError, ServerTooOldError."""
    async with (
        open_bus(nats_url, name="console") as ask,
        open_bus(nats_url, name="console history") as history,
        open_bus(nats_url, name="console live") as live,
    ):
        yield ConsoleBuses(ask, history, live)


async def run(  # noqa: PLR0913 - settings of each part
    server: ServerSettings,
    settings: ConsoleSettings,
    http: HttpSettings,
    jwt: JwtSettings,
    vault: Vault,
    *,
    open_replay_target: Callable[[asyncpg.Pool], OpenTarget],
    origin_at_once_max: int,
    traces: Traces,
) -> None:
    """`tidings console`: until SIGTERM or SIGINT. Raises CouldNotStartError."""
    draining, stopping = draining_on_signals(), asyncio.Event()
    clock, metrics = SystemClock(), Metrics()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(http))
        pool = await stack.enter_async_context(open_pool(server.postgres_url))
        await require_migrations(pool)
        buses = await stack.enter_async_context(open_console_buses(server.nats_url))
        watch_buses(metrics, [buses.ask, buses.history, buses.live])
        watch_pool(metrics, pool)
        authenticator = Authenticator(pool, clock=clock, issuer=issuer_of(jwt, clock))
        console = Console(
            ConsoleResources(
                pool=pool,
                authenticator=authenticator,
                vault=vault,
                buses=buses,
                clock=clock,
                metrics=metrics,
                open_replay_target=open_replay_target(pool),
                origin_at_once_max=origin_at_once_max,
                settings=settings,
                traces=traces,
            )
        )
        await listen_control(buses.ask, authenticator.receive_control)
        checks = {"nats": console.check, "postgres": lambda: pool.fetchval("SELECT 1")}
        app = Starlette(routes=[*console.routes(), *health_routes(checks, draining, metrics)])

        async def run_until_drained() -> None:
            await console.run(draining)
            stopping.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_until_drained(), name="console")
            await serve(app, listener, http, stopping)
            draining.set()
