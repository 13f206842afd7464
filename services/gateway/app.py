"""The gateway put together: its resources, its routes, its loops."""

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.routing import Route

from services.gateway.admission import Admission
from services.gateway.asked import Asked
from services.gateway.authority import Authority
from services.gateway.connections import Connections
from services.gateway.counts import Counts
from services.gateway.entrance import Entrance, Refusal
from services.gateway.event_source_route import EventSourceRoute
from services.gateway.fan_out import LOG_ERRORS
from services.gateway.forwarding import Forwarding
from services.gateway.handoff import HandoffHttpProtocol
from services.gateway.push_connection import EndReason
from services.gateway.self_check import SelfCheck
from services.gateway.settings import GatewaySettings, ServerSettings
from services.gateway.ticket_route import TicketRoute
from services.gateway.tickets import Tickets
from services.gateway.timed_fan_out import TimedFanOut
from services.gateway.websocket_route import WebSocketRoute
from shared.bus.connection import Bus, open_bus, watch_buses
from shared.bus.control import ControlMessage, listen_control
from shared.http.authentication import AuthenticationError, Authenticator, ScopeMissingError
from shared.http.cross_origin import answer_preflight
from shared.http.health import health_routes
from shared.http.issuer import JwtSettings, issuer_of
from shared.log.appender import LogUnavailableError
from shared.log.open_log import ReadableLog, open_readable_log
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.lifetime import draining_on_signals
from shared.runtime.metrics import Metric, Metrics
from shared.runtime.serve import HttpSettings, listen, serve
from shared.runtime.traces import Traces
from shared.store.credentials import Credential
from shared.store.migrate import require_migrations
from shared.store.pool import POSTGRES_ERRORS, open_pool, watch_pool

_log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.5
SWEEP_SHARE_MAX = 0.1  # of the time: with very many connections it is done less often
SWEEP_SECONDS_MAX = 5.0
COUNT_SECONDS = 1.0


class GatewayResources(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway stands on; `up` shares most of it with the dispatcher."""

    pool: asyncpg.Pool
    authenticator: Authenticator
    log: ReadableLog
    bus: Bus  # for requests to the dispatchers
    clock: Clock
    metrics: Metrics
    traces: Traces = Traces()
    settings: GatewaySettings = GatewaySettings()


class Gateway:
    """Serve its routes with `HandoffHttpProtocol`, and `run` it until it has drained."""

    def __init__(self, resources: GatewayResources) -> None:
        self._settings = settings = resources.settings
        self._authenticator = resources.authenticator
        self._authority = Authority(resources.pool, monotonic=resources.clock.monotonic)
        self._fan_out = TimedFanOut(
            resources.log.tail,
            resources.log.reader,
            resources.log.keeper.verify,
            now=resources.clock.now,
            traces=resources.traces,
        )
        resources.log.on_doubt(self._fan_out.doubt)
        self.connections = Connections(
            self._fan_out,
            self._authority.visible_accounts,
            now=resources.clock.monotonic,
            flush_seconds=settings.flush_milliseconds / 1000,
            frames_kept=settings.frames_kept,
            ended_kept=settings.ended_kept,
        )
        self._tickets = Tickets(resources.pool)
        self._ticket_route = TicketRoute(
            self._credential, self._tickets, now=resources.clock.monotonic
        )
        self._entrance = Entrance(
            Admission(settings.limits),
            self._credential,
            self._tickets.redeem,
            resources.clock,
            lifetime_seconds=settings.lifetime_seconds,
        )
        self._event_source = EventSourceRoute(self._entrance, self.connections, settings)
        forward = Forwarding(
            resources.bus, resources.traces, resources.clock, settings.requests_at_once_max
        )
        self._websocket = WebSocketRoute(self._entrance, self.connections, forward, settings)
        self.self_check = SelfCheck(self.connections, resources.log.reader, resources.log.tail)
        self.is_draining = False
        self._asked = Asked(resources.bus, self.connections, self, resources.clock)
        resources.metrics.set(Metric.CONNECTIONS_MAX, settings.connections_max)
        self._counts = Counts(
            resources.metrics, self.connections, self._entrance, self._fan_out, self.self_check
        )

        self._sweep_wanted = asyncio.Event()
        resources.bus.on_connection_change(self._sweep_wanted.set)

    def routes(self) -> list[Route]:
        return [
            Route("/jmap/eventsource", answer_preflight, methods=["OPTIONS"]),
            Route("/jmap/eventsource", self._event_source),
            Route("/jmap/ws", self._websocket),
            Route(
                "/jmap/ticket",
                self._ticket_route.answer,
                methods=["POST"],
            ),
            Route("/jmap/ticket", answer_preflight, methods=["OPTIONS"]),
        ]

    def receive_control(self, message: ControlMessage) -> None:
        """Call it for each control message, after the authenticator's."""
        if message.grants_changed is not None:
            self._authority.forget(message.grants_changed)
            for channel in self.connections.of_user(message.grants_changed):
                self.connections.rejoin_soon(channel)
        if message.revoked is not None:
            for channel in self.connections:
                if channel.holder.id == message.revoked:
                    channel.end(EndReason.REVOKED)

    @property
    def is_live(self) -> bool:
        """Follows the log."""
        return self._fan_out.is_live

    async def check(self) -> None:
        """Raises while nobody can join."""
        if not self._fan_out.is_live:
            raise LogUnavailableError("the log is not followed")

    async def run(self, draining: asyncio.Event) -> None:
        """Until `draining` is set and every connection was closed."""
        async with asyncio.TaskGroup() as tasks:
            loops = [
                tasks.create_task(self._fan_out.run(), name="fan_out"),
                tasks.create_task(self.connections.run(), name="connections"),
                tasks.create_task(self._sweep(), name="sweep"),
                tasks.create_task(self._check_self(), name="self_check"),
                tasks.create_task(self._count(), name="counts"),
                tasks.create_task(self._asked.run(), name="asked"),
            ]
            await draining.wait()
            self.is_draining = True
            await asyncio.sleep(self._settings.unready_seconds)
            self._entrance.is_closed = True
            await self.connections.drain(self._settings.drain_seconds)
            for loop in loops:
                loop.cancel()

    async def _credential(self, authorization: str | None) -> Credential:
        try:
            return await self._authenticator.authenticate(authorization)
        except (AuthenticationError, ScopeMissingError) as error:
            response = error.response()
            challenge = response.headers["www-authenticate"]
            raise Refusal(
                response.status_code, str(error), {"www-authenticate": challenge}
            ) from error

    async def _sweep(self) -> None:
        """Also when NATS was lost or came back: control messages may have been lost with it."""
        took = 0.0
        while True:
            pause = max(SWEEP_SECONDS, took / SWEEP_SHARE_MAX)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sweep_wanted.wait(), pause)
            self._sweep_wanted.clear()
            start = self.connections.now()
            try:
                async with asyncio.timeout(SWEEP_SECONDS_MAX):
                    await self._tickets.forget_expired()
                    await self.look_at_all_again()
            except POSTGRES_ERRORS as error:
                _log.warning("sweep_failed", extra={"error": repr(error)})
            else:
                took = self.connections.now() - start

    async def look_at_all_again(self) -> None:
        """Close who lost the token, and join again who sees other accounts than before."""
        channels = list(self.connections)
        if not channels:
            return
        kept = {channel.holder.id for channel in channels if channel.holder.is_kept}
        revoked = kept - await self._authority.valid_tokens(kept)
        visible = await self._authority.visible_to_many(
            {channel.holder.user_id for channel in channels}
        )
        for channel in channels:
            if channel.holder.id in revoked:
                channel.end(EndReason.REVOKED)
            elif (
                channel.wants_push
                and visible.get(channel.holder.user_id, frozenset()) != channel.account_ids
            ):
                self._authority.forget(channel.holder.user_id)
                self.connections.rejoin_soon(channel)

    async def _check_self(self) -> None:
        while True:
            await asyncio.sleep(self._settings.self_check_seconds)
            try:
                async with asyncio.timeout(self._settings.self_check_seconds):
                    await self.self_check.check()
            except LOG_ERRORS as error:
                _log.info("self_check_failed", extra={"error": repr(error)})

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            self._counts.report()


async def run(
    server: ServerSettings,
    settings: GatewaySettings,
    http: HttpSettings,
    jwt: JwtSettings,
    *,
    traces: Traces,
) -> None:
    """`tidings gateway`: until SIGTERM or SIGINT. Raises CouldNotStartError."""
    draining, stopping = draining_on_signals(), asyncio.Event()
    clock, metrics = SystemClock(), Metrics()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(http))
        pool = await stack.enter_async_context(open_pool(server.postgres_url))
        await require_migrations(pool)
        log = await stack.enter_async_context(
            open_readable_log(server.nats_url, pool, name="gateway")
        )
        bus = await stack.enter_async_context(open_bus(server.nats_url, name="gateway"))
        log.watch(metrics)
        watch_buses(metrics, [bus])
        watch_pool(metrics, pool)
        authenticator = Authenticator(pool, clock=clock, issuer=issuer_of(jwt, clock))
        gateway = Gateway(
            GatewayResources(
                pool=pool,
                authenticator=authenticator,
                log=log,
                bus=bus,
                clock=clock,
                metrics=metrics,
                traces=traces,
                settings=settings,
            )
        )
        await listen_control(bus, authenticator.receive_control)
        await listen_control(bus, gateway.receive_control)
        checks = {"log": gateway.check, "postgres": lambda: pool.fetchval("SELECT 1")}
        app = Starlette(routes=[*gateway.routes(), *health_routes(checks, draining, metrics)])

        async def run_until_drained() -> None:
            """The port stays open while the drain is told, so that a proxy can hear of it."""
            await gateway.run(draining)
            stopping.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_until_drained(), name="gateway")
            await serve(app, listener, http, stopping, http_protocol=HandoffHttpProtocol)
            draining.set()
