"""The deliverer put together: its resources and its loops."""

import asyncio
import logging
import secrets
import ssl
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import asyncpg
import msgspec
from starlette.applications import Starlette

from services.webhooks.breaker import Breaker
from services.webhooks.deliverer import Deliverer
from services.webhooks.merging import Merger
from services.webhooks.push_client import PushClient, client_tls, open_push_client
from services.webhooks.recent_events import RecentEvents
from services.webhooks.sender import Client, Sender
from services.webhooks.settings import ServerSettings, WebhookSettings
from services.webhooks.signing_keys import SigningKeys
from services.webhooks.teller import Teller
from services.webhooks.verification import Verifier
from shared.bus.connection import BusUnavailableError
from shared.bus.control import ControlMessage, listen_control
from shared.bus.jetstream import JetStreamError
from shared.http.health import health_routes
from shared.log.appender import LogUnavailableError
from shared.log.open_log import SharedLog, open_shared_log
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.errors import CouldNotStartError
from shared.runtime.garbage import collect_garbage_seldom
from shared.runtime.lifetime import draining_on_signals
from shared.runtime.metrics import Metric, Metrics
from shared.runtime.serve import HttpSettings, listen, serve
from shared.runtime.traces import Traces
from shared.store.lane_counts import count_lanes
from shared.store.migrate import require_migrations
from shared.store.pool import POSTGRES_ERRORS, open_pool, watch_pool
from shared.web_push.sealing import Vault
from shared.web_push.settings import WebhookPolicySettings
from shared.web_push.vapid import VapidSigner

_log = logging.getLogger(__name__)

_RECENT_ACCOUNTS = 10_000
_COUNT_SECONDS = 15.0


class WebhookResources(msgspec.Struct, frozen=True, kw_only=True):
    """What the deliverer stands on; see `open_client`."""

    pool: asyncpg.Pool
    log: SharedLog
    vault: Vault
    client: Client
    clock: Clock
    metrics: Metrics
    policy: WebhookPolicySettings
    traces: Traces = Traces()
    settings: WebhookSettings = WebhookSettings()


class Webhooks:
    """One worker. Any number of them share the lanes."""

    def __init__(self, resources: WebhookResources) -> None:
        self._pool = pool = resources.pool
        self._metrics = metrics = resources.metrics
        settings, clock = resources.settings, resources.clock
        self._keys = SigningKeys(pool, resources.vault)
        sender = Sender(
            resources.client,
            self._keys,
            VapidSigner(settings.contact),
            resources.vault,
            clock,
            metrics,
        )
        recent = RecentEvents(_RECENT_ACCOUNTS)
        self._breaker = Breaker(secrets.SystemRandom().random)
        teller = Teller(
            resources.log.reader,
            recent,
            sender,
            self._breaker,
            settings,
            clock=clock,
            traces=resources.traces,
        )
        self._deliverer = Deliverer(pool, teller, settings, clock, metrics)
        self._merger = Merger(pool, resources.log.bus, recent, self._deliverer.wake, metrics)
        self._verifier = Verifier(
            pool,
            sender,
            clock,
            answer_verifies=resources.policy.verify == "response",
            at_once_max=settings.verifications_at_once_max,
            verified=self._deliverer.wake,
        )
        metrics.on_scrape(self._sample)

    def receive_control(self, message: ControlMessage) -> None:
        """Call it for each control message."""
        if message.webhooks_due:
            self.wake()
        if message.vapid_key_changed or message.subscriptions_ended:
            self._keys.forget()

    def wake(self) -> None:
        """Look at the subscriptions and lanes now."""
        self._verifier.wake()
        self._deliverer.wake()

    async def check(self) -> None:
        """Raises while events do not reach the lanes."""
        if not self._merger.is_reading:
            raise LogUnavailableError("the log is not followed")

    async def run(self, draining: asyncio.Event) -> None:
        """Until `draining`, and the requests under way were answered or timed out."""
        async with asyncio.TaskGroup() as tasks:
            loops = [
                tasks.create_task(self._merger.run(), name="merger"),
                tasks.create_task(self._count(), name="lane_counts"),
            ]
            verifying = tasks.create_task(self._verifier.run(draining), name="verifier")
            await self._deliverer.run(draining)
            await verifying
            for loop in loops:
                loop.cancel()

    def _sample(self) -> None:
        self._metrics.set(Metric.WEBHOOK_READING, float(self._merger.is_reading))
        self._metrics.set(Metric.WEBHOOK_ORIGINS_OPEN, self._breaker.open_origins())

    async def _count(self) -> None:
        while True:
            try:
                counts = await count_lanes(self._pool)
            except POSTGRES_ERRORS as error:
                _log.info("lanes_not_counted", extra={"error": repr(error)})
            else:
                for state in ("unverified", "paused", "converged", "failing", "behind"):
                    self._metrics.set(Metric.WEBHOOK_LANES, getattr(counts, state), state=state)
                self._metrics.set(Metric.WEBHOOK_OLDEST_SECONDS, counts.oldest_seconds)
            try:
                pending = await self._merger.pending()
            except (BusUnavailableError, JetStreamError) as error:
                _log.info("webhook_events_not_counted", extra={"error": repr(error)})
            else:
                self._metrics.set(Metric.WEBHOOK_EVENTS_PENDING, pending)
            await asyncio.sleep(_COUNT_SECONDS)


def open_client(
    settings: WebhookSettings, policy: WebhookPolicySettings, clock: Clock
) -> AbstractAsyncContextManager[PushClient]:
    """Raises CouldNotStartError: the file of authorities cannot be used."""
    try:
        tls = client_tls(settings.ca)
    except (OSError, ssl.SSLError) as error:
        raise CouldNotStartError(
            f"TIDINGS_WEBHOOK_CA cannot be used ({error}): give a PEM file."
        ) from error
    return open_push_client(policy.exemptions, settings.client, tls=tls, clock=clock)


async def run(
    server: ServerSettings,
    settings: WebhookSettings,
    policy: WebhookPolicySettings,
    http: HttpSettings,
    vault: Vault,
    *,
    traces: Traces,
) -> None:
    """`tidings webhooks`: until SIGTERM or SIGINT. Raises CouldNotStartError."""
    draining, stopping = draining_on_signals(), asyncio.Event()
    clock, metrics = SystemClock(), Metrics()
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(http))
        pool = await stack.enter_async_context(open_pool(server.postgres_url))
        await require_migrations(pool)
        log = await stack.enter_async_context(open_shared_log(server.nats_url, name="webhooks"))
        log.watch(metrics)
        watch_pool(metrics, pool)
        webhooks = Webhooks(
            WebhookResources(
                pool=pool,
                log=log,
                vault=vault,
                client=await stack.enter_async_context(open_client(settings, policy, clock)),
                clock=clock,
                metrics=metrics,
                traces=traces,
                policy=policy,
                settings=settings,
            )
        )
        await listen_control(log.bus, webhooks.receive_control)
        checks = {"log": webhooks.check, "postgres": lambda: pool.fetchval("SELECT 1")}
        app = Starlette(routes=health_routes(checks, draining, metrics))

        collect_garbage_seldom()

        async def run_until_drained() -> None:
            await webhooks.run(draining)
            stopping.set()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_until_drained(), name="webhooks")
            await serve(app, listener, http, stopping)
            draining.set()
