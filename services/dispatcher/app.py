"""The dispatcher put together: its resources, its routes, its loops."""

import asyncio
import functools
import logging
import socket
from collections import ChainMap
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import msgspec
from starlette.applications import Starlette
from starlette.routing import Route

from services.dispatcher import share_notifications
from services.dispatcher.append.api import AppendApi, AppendResources
from services.dispatcher.application_server_key import ApplicationServerKey
from services.dispatcher.blob_methods import BlobMethods
from services.dispatcher.blob_routes import BlobEndpoints
from services.dispatcher.blob_store import BlobKeeper, BlobLimits
from services.dispatcher.bus_requests import BusRequests
from services.dispatcher.capabilities import Capabilities
from services.dispatcher.copying import CopyMethods
from services.dispatcher.documents import document_routes
from services.dispatcher.guard import Guard
from services.dispatcher.jobs import run_jobs
from services.dispatcher.mutation import Committed
from services.dispatcher.principals import PrincipalMethods
from services.dispatcher.processor import Processor
from services.dispatcher.push_subscriptions import PushSubscriptionMethods
from services.dispatcher.querying import QueryMethods
from services.dispatcher.registry import Method, registry_of
from services.dispatcher.relay import Relay
from services.dispatcher.remote.changes import Follow
from services.dispatcher.remote.services import MethodServices
from services.dispatcher.remote.settings import MethodServiceSettings
from services.dispatcher.removals import run_removals
from services.dispatcher.requests import Requests
from services.dispatcher.routes import Api
from services.dispatcher.sessions import Sessions
from services.dispatcher.settings import DispatcherRules, DispatcherSettings, PushRules
from services.dispatcher.standard import StandardMethods
from services.dispatcher.subscription_jobs import run_subscription_jobs
from services.dispatcher.types import blob, contacts, core, principals
from shared.bus.connection import Bus, BusUnavailableError
from shared.bus.control import ControlMessage, listen_control, send_control
from shared.http.authentication import Authenticator
from shared.http.forwarded import websocket_capability
from shared.http.health import health_routes
from shared.http.issuer import JwtSettings, issuer_of
from shared.jmap.session import Capability, CoreLimits
from shared.log.guard import LogGuard
from shared.log.open_log import WritableLog, open_writable_log
from shared.log.removals import AccountRemovals
from shared.log.topology import LogSettings
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.garbage import collect_garbage_seldom
from shared.runtime.lifetime import draining_on_signals, finished_after
from shared.runtime.metrics import Metrics
from shared.runtime.serve import HttpSettings, listen, serve
from shared.runtime.traces import Traces
from shared.store.migrate import require_migrations
from shared.store.pool import open_pool, watch_pool
from shared.web_push.sealing import Vault

_log = logging.getLogger(__name__)

DECLARED_TYPES = {
    declared.name: declared for declared in (contacts.ADDRESS_BOOK, contacts.CONTACT_CARD)
}


async def _tell_nobody(_: ControlMessage) -> None:
    """For a dispatcher without a bus."""


class DispatcherResources(msgspec.Struct, frozen=True, kw_only=True):
    """What the routes stand on; `up` shares most of it with the gateway.

    `committed` is told of each mutation after its commit. `capabilities` are those of other
    services that share the session, such as the gateway's. `tell` sends a control message to all
    processes, or raises BusUnavailableError: it is a hint.
    """

    pool: asyncpg.Pool
    authenticator: Authenticator
    vault: Vault
    committed: Committed
    public_url: str
    clock: Clock
    metrics: Metrics
    limits: CoreLimits = CoreLimits()
    blob_limits: BlobLimits = BlobLimits()
    capabilities: Sequence[Capability] = ()
    push: PushRules = PushRules()
    method_services: MethodServiceSettings = MethodServiceSettings()
    traces: Traces = Traces()
    follow: Follow | None = None
    tell: Callable[[ControlMessage], Awaitable[None]] = _tell_nobody


class Dispatcher:
    """The API over its resources."""

    def __init__(self, resources: DispatcherResources) -> None:
        limits = resources.limits
        self._pool = resources.pool
        own = [
            core.core_capability(limits),
            blob.blob_capability(limits, DECLARED_TYPES.values()),
            contacts.CAPABILITY,
            principals.CAPABILITY,
        ]
        self._capabilities = Capabilities([*own, *resources.capabilities])
        self._sessions = Sessions(
            resources.pool, self._capabilities, resources.public_url, resources.clock
        )
        self._tell = resources.tell
        self._follow = resources.follow
        self._key = ApplicationServerKey(resources.pool, resources.vault, self._capabilities)
        standard = StandardMethods(
            resources.pool, DECLARED_TYPES, limits, resources.committed, self._grants_changed
        )
        queries = QueryMethods(resources.pool, DECLARED_TYPES.values())
        copies = CopyMethods(resources.pool, standard, limits, resources.committed)
        self.keeper = BlobKeeper(resources.pool, DECLARED_TYPES.values(), resources.blob_limits)
        blobs = BlobMethods(resources.pool, DECLARED_TYPES, self.keeper, limits)
        registry = registry_of(
            core.METHODS,
            standard.methods(),
            queries.methods(),
            copies.methods(),
            blobs.methods(),
            PrincipalMethods(resources.pool, self._sessions, limits).methods(),
            share_notifications.METHODS,
            self._push_subscriptions(resources).methods(),
        )
        self._resources = resources
        self.type_names = frozenset(name.partition("/")[0] for name in registry)
        self._documents = document_routes(registry, limits)
        self._services = self._method_services(resources, registry)
        methods = ChainMap(registry, self._services.methods)
        processor = self._processor(methods)
        self._requests = Requests(self._sessions, processor, resources.clock)
        self._limits = limits
        guard = Guard(resources.authenticator, resources.clock, resources.metrics, resources.traces)
        self._api = Api(guard, self._sessions, self._requests, limits)
        self._blobs = BlobEndpoints(guard, self._sessions, resources.pool, self.keeper, limits)

    def routes(self) -> list[Route]:
        return [*self._api.routes(), *self._blobs.routes(), *self._documents]

    def append_api(self, relay: Relay, guard: LogGuard) -> AppendApi:
        """The way in for other services' types: all but those that have methods here."""
        return AppendApi(
            AppendResources(
                pool=self._pool,
                authenticator=self._resources.authenticator,
                relay=relay,
                guard=guard,
                clock=self._resources.clock,
                metrics=self._resources.metrics,
                traces=self._resources.traces,
                own_types=self.type_names,
            )
        )

    async def prepare(self) -> None:
        """Before it serves. Raises CouldNotStartError."""
        await self._key.prepare()

    async def run(self, bus: Bus) -> None:
        """What its methods stand on, and what is to be done now and then; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_jobs(self._pool, self.keeper), name="jobs")
            tasks.create_task(
                run_subscription_jobs(self._pool, self._hint), name="subscription_jobs"
            )
            tasks.create_task(self._key.follow(), name="application_server_key")
            if self._follow is not None:
                tasks.create_task(
                    self._services.run(bus, self._pool, self._follow), name="method_services"
                )

    async def answer_bus(self, bus: Bus, draining: asyncio.Event) -> None:
        """Beside `run`: what gateways forward, until `draining`, and what is in hand to its end."""
        await BusRequests(
            bus,
            self._requests,
            self._limits,
            clock=self._resources.clock,
            metrics=self._resources.metrics,
            traces=self._resources.traces,
        ).run(draining)

    def _processor(self, methods: Mapping[str, Method]) -> Processor:
        return Processor(
            methods,
            self._capabilities,
            self._resources.limits,
            clock=self._resources.clock,
            metrics=self._resources.metrics,
            traces=self._resources.traces,
        )

    async def met_services(self) -> None:
        """Returns when the method services that are there now were found, by `run`."""
        await self._services.met.wait()

    def receive_control(self, message: ControlMessage) -> None:
        """Call it for each control message, as well as the authenticator's."""
        self._sessions.receive_control(message)
        if message.vapid_key_changed:
            self._key.look_soon()

    def _method_services(
        self, resources: DispatcherResources, own: Mapping[str, Method]
    ) -> MethodServices:
        return MethodServices(
            self._capabilities,
            own,
            resources.method_services,
            limits=resources.limits,
            clock=resources.clock,
            metrics=resources.metrics,
        )

    def _push_subscriptions(self, resources: DispatcherResources) -> PushSubscriptionMethods:
        return PushSubscriptionMethods(
            resources.pool,
            resources.vault,
            resources.limits,
            rules=resources.push,
            tell=self._hint,
            key_met=self._key.met,
        )

    async def _grants_changed(self, user_ids: Collection[str]) -> None:
        for user_id in user_ids:
            message = ControlMessage(grants_changed=user_id)
            self._sessions.receive_control(message)
            await self._hint(message)

    async def _hint(self, message: ControlMessage) -> None:
        """The fact is in PostgreSQL; who does not hear of it finds out a few seconds later."""
        try:
            await self._tell(message)
        except BusUnavailableError as error:
            _log.warning("control_message_not_sent", extra={"error": str(error)})


async def run(
    settings: DispatcherSettings,
    log_settings: LogSettings,
    http: HttpSettings,
    jwt: JwtSettings,
    *,
    vault: Vault,
    rules: DispatcherRules,
) -> None:
    """`tidings dispatcher`: until SIGTERM or SIGINT. Raises CouldNotStartError."""
    draining, clock, metrics = draining_on_signals(), SystemClock(), Metrics()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(http))
        pool = await stack.enter_async_context(_migrated_pool(settings, metrics))
        log = await stack.enter_async_context(
            _watched_log(settings.nats_url, pool, log_settings, metrics)
        )
        relay = Relay(pool, log, clock, metrics, rules.traces)
        authenticator = Authenticator(pool, clock=clock, issuer=issuer_of(jwt, clock))
        dispatcher = Dispatcher(
            DispatcherResources(
                pool=pool,
                authenticator=authenticator,
                vault=vault,
                push=rules.push,
                method_services=rules.method_services,
                traces=rules.traces,
                committed=relay.wake,
                follow=relay.follow,
                public_url=settings.public_url,
                clock=clock,
                metrics=metrics,
                capabilities=[websocket_capability(settings.public_url)],
                tell=functools.partial(send_control, log.bus),
            )
        )
        append_api = dispatcher.append_api(relay, log.guard)
        await dispatcher.prepare()
        for part in (authenticator, dispatcher):
            await listen_control(log.bus, part.receive_control)
        health = health_routes({"postgres": lambda: pool.fetchval("SELECT 1")}, draining, metrics)
        app = Starlette(routes=[*dispatcher.routes(), *append_api.routes(), *health])
        async with asyncio.TaskGroup() as tasks:
            works = [*_log_loops(pool, log, relay), append_api.run(), dispatcher.run(log.bus)]
            loops = [tasks.create_task(work) for work in works]
            await dispatcher.met_services()
            answers = [part.answer_bus(log.bus, draining) for part in (dispatcher, append_api)]
            await _serve(app, listener, http, draining, answers)
            for loop in loops:
                loop.cancel()


async def _serve(
    app: Starlette,
    listener: socket.socket,
    http: HttpSettings,
    draining: asyncio.Event,
    answers: Iterable[Coroutine[None, None, None]],
) -> None:
    """HTTP and, by `answers`, NATS; returns when both were drained."""
    collect_garbage_seldom()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(finished_after(draining, http.drain_seconds_max, answers))
        await serve(app, listener, http, draining)


def _log_loops(
    pool: asyncpg.Pool, log: WritableLog, relay: Relay
) -> Sequence[Coroutine[None, None, None]]:
    removals = run_removals(AccountRemovals(pool, log.eraser))
    return log.guard.run(), relay.run(), removals


@asynccontextmanager
async def _watched_log(
    nats_url: str, pool: asyncpg.Pool, settings: LogSettings, metrics: Metrics
) -> AsyncIterator[WritableLog]:
    async with open_writable_log(nats_url, pool, name="dispatcher", settings=settings) as log:
        log.watch(metrics)
        yield log


@asynccontextmanager
async def _migrated_pool(
    settings: DispatcherSettings, metrics: Metrics
) -> AsyncIterator[asyncpg.Pool]:
    connections_max = settings.postgres_connections_max
    async with open_pool(settings.postgres_url, connections_max=connections_max) as pool:
        await require_migrations(pool)
        watch_pool(metrics, pool)
        yield pool
