"""A deliverer in the test's own process, over real servers, and subscriptions made by hand."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import asyncpg
import msgspec

from services.webhooks.app import WebhookResources, Webhooks, open_client
from services.webhooks.sender import Client
from services.webhooks.settings import WebhookSettings
from shared.log.batched_reader import BatchedReader
from shared.log.event import Cause, OrderedState
from shared.log.open_log import WritableLog, open_shared_log, open_writable_log
from shared.log.subjects import STREAM
from shared.runtime.clock import Clock, SystemClock, now_utc_text
from shared.runtime.metrics import Metrics
from shared.store.credentials import issue_token
from shared.store.ids import new_id
from shared.store.people import add_user
from shared.store.pool import open_pool
from shared.store.push_subscriptions import (
    NewPushSubscription,
    insert_push_subscription,
    mark_verified,
)
from shared.store.vapid_keys import ensure_vapid_key
from shared.web_push.address_policy import parse_exemptions
from shared.web_push.endpoint import parse_endpoint
from shared.web_push.endpoint_secrets import Endpoint
from shared.web_push.sealing import Vault
from shared.web_push.settings import Exemption, WebhookPolicySettings
from shared.web_push.vapid import VapidKey

LOOPBACK = tuple(Exemption(entry) for entry in ("localhost", "127.0.0.0/8", "::1/128"))
_SETTINGS = WebhookSettings()
_CAUSE = Cause(method="test")
_names = itertools.count(1)


@dataclass
class WebhookUser:
    id: str
    account_id: str
    token_id: str
    token: str


@dataclass
class WebhookBench:
    """Users, subscriptions and changes, straight into the store and the log."""

    pool: asyncpg.Pool
    log: WritableLog
    nats_url: str
    dsn: str
    secret: str
    vault: Vault
    orders: dict[tuple[str, str], int] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)  # account -> of its last event

    async def user(self) -> WebhookUser:
        name = f"user{next(_names)}"
        user_id, account_id = await add_user(self.pool, name)
        token_id, token = await issue_token(self.pool, name)
        return WebhookUser(user_id, account_id, token_id, token)

    async def subscribe(
        self,
        user: WebhookUser,
        url: str,
        *,
        types: list[str] | None = None,
        keys: tuple[bytes, bytes] | None = None,
        life: timedelta = timedelta(days=7),
        is_verified: bool = True,
    ) -> str:
        """A subscription that is verified already, unless asked otherwise; returns its id."""
        subscription_id = new_id("p")
        active = await ensure_vapid_key(self.pool, self.vault, VapidKey.generate())
        now: datetime = await self.pool.fetchval("SELECT now()")
        p256dh, auth = keys or (None, None)
        async with self.pool.acquire() as connection, connection.transaction():
            await insert_push_subscription(
                connection,
                self.vault,
                NewPushSubscription(
                    id=subscription_id,
                    user_id=user.id,
                    credential_id=user.token_id,
                    token_id=user.token_id,
                    device_client_id="device",
                    vapid_key_id=active.id,
                    origin=parse_endpoint(url, parse_exemptions(LOOPBACK)).origin,
                    endpoint=Endpoint(
                        url=url, p256dh=p256dh, auth=auth, code=secrets.token_urlsafe(32)
                    ),
                    types=types,
                    expires_at=now + life,
                    ends_at=now + life,
                ),
                stream=STREAM,
            )
            if is_verified:
                await connection.execute(
                    "UPDATE push_subscriptions SET verification_started_at = now() WHERE id = $1",
                    subscription_id,
                )
                await mark_verified(connection, subscription_id)
        return subscription_id

    async def change(self, account_id: str, *types: str) -> dict[str, str]:
        """Append one event; returns the states of `types`."""
        states = {}
        for type_name in types or ("Email",):
            order = self.orders[account_id, type_name] = (
                self.orders.get((account_id, type_name), 0) + 1
            )
            states[type_name] = OrderedState(f"s{order}", order)
        self.sequences[account_id] = await self.log.appender.append(
            account_id, states, at=now_utc_text(), cause=_CAUSE
        )
        return {type_name: state.state for type_name, state in states.items()}

    async def newest_sequence(self, subscription_id: str) -> int:
        """Of the accounts that the subscription sees."""
        rows = await self.pool.fetch(
            """
            SELECT account_id FROM grants JOIN push_subscriptions AS s ON s.user_id = grants.user_id
            WHERE s.id = $1
            """,
            subscription_id,
        )
        return max(self.sequences.get(row["account_id"], 0) for row in rows)

    async def lane(self, subscription_id: str) -> asyncpg.Record:
        row = await self.pool.fetchrow(
            "SELECT * FROM lanes WHERE subscription_id = $1", subscription_id
        )
        assert row is not None, "the subscription is gone"
        return row

    @asynccontextmanager
    async def worker(
        self,
        settings: WebhookSettings = _SETTINGS,
        *,
        verify: str = "response",
        clock: Clock | None = None,
        reader: BatchedReader | None = None,
        around: Callable[[Client], Client] = lambda client: client,
    ) -> AsyncIterator[Webhooks]:
        """One deliverer, with its own connections.

        `reader` of the log, and what is `around` its client: for faults that no server makes.
        """
        draining = asyncio.Event()
        async with AsyncExitStack() as stack:
            clock = clock or SystemClock()
            policy = WebhookPolicySettings(allow=LOOPBACK, verify=verify)  # type: ignore[arg-type]
            log = await stack.enter_async_context(open_shared_log(self.nats_url, name="worker"))
            client = await stack.enter_async_context(open_client(settings, policy, clock))
            webhooks = Webhooks(
                WebhookResources(
                    pool=await stack.enter_async_context(open_pool(self.dsn)),
                    log=msgspec.structs.replace(log, reader=reader or log.reader),
                    vault=self.vault,
                    client=around(client),
                    clock=clock,
                    metrics=Metrics(),
                    policy=policy,
                    settings=settings,
                )
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(webhooks.run(draining))
                try:
                    yield webhooks
                finally:
                    draining.set()


@asynccontextmanager
async def webhook_bench(nats_url: str, dsn: str) -> AsyncIterator[WebhookBench]:
    async with (
        open_pool(dsn) as pool,
        open_writable_log(nats_url, pool, name="bench") as log,
        asyncio.TaskGroup() as tasks,
    ):
        await log.keeper.ensure()
        guard = tasks.create_task(log.guard.run())
        await log.guard.epoch()
        secret = secrets.token_hex(32)
        yield WebhookBench(pool, log, nats_url, dsn, secret, Vault(secret))
        guard.cancel()
