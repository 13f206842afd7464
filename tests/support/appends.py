"""A dispatcher's append API on a real socket and a real log, and a producer for it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
from starlette.applications import Starlette

from services.dispatcher.append.api import AppendApi, AppendResources
from services.dispatcher.append.in_hand import InHandLimits
from services.dispatcher.append.request import RequestLimits
from services.dispatcher.relay import Relay
from shared.bus.control import listen_control
from shared.http.authentication import Authenticator
from shared.log.event import StoredEvent, changed_since
from shared.log.open_log import WritableLog, open_readable_log
from shared.runtime.clock import SystemClock
from shared.runtime.metrics import Metrics
from shared.runtime.serve import HttpSettings, listen, serve, url_of
from shared.store.credentials import issue_token
from shared.store.people import add_account, add_user
from shared.store.pool import open_pool
from tests.support.stress import open_writer, running, whole_log

OWN_TYPES = frozenset({"AddressBook", "ContactCard"})
Json = dict[str, Any]


@dataclass
class RunningAppendApi:
    url: str
    nats_url: str
    pool: asyncpg.Pool
    log: WritableLog
    relay: Relay
    metrics: Metrics
    token: str  # with the scope `append`
    http: httpx.AsyncClient

    async def account(self) -> str:
        return await add_account(self.pool, secrets.token_hex(4))

    async def post(self, body: Any, *, key: str | None = None, token: str = "") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        if key is not None:
            headers["Idempotency-Key"] = key
        if isinstance(body, bytes):
            headers["Content-Type"] = "application/json"
            return await self.http.post("/tidings/append", content=body, headers=headers)
        return await self.http.post("/tidings/append", json=body, headers=headers)

    async def append(
        self,
        changed: Mapping[str, Mapping[str, str]],
        order: Mapping[str, Mapping[str, int]] | None = None,
        *,
        key: str | None = None,
    ) -> str:
        """The cursor."""
        response = await self.post(change(changed, order), key=key)
        assert response.status_code == 200, response.text
        body = response.json()
        assert list(body) == ["cursor"], body
        return str(body["cursor"])

    async def events(self, account_id: str) -> list[StoredEvent]:
        """Those that the log has of it, without what made the account."""
        async with open_readable_log(self.nats_url, self.pool, name="test") as log:
            events = await whole_log(log, (await log.keeper.verify()).last_sequence)
        return [
            stored
            for stored in events.get(account_id, [])
            if stored.event.changed.keys() - OWN_TYPES
        ]

    async def states(self, account_id: str) -> dict[str, str]:
        """As the log has them; the account's own types are left out."""
        events = await self.events(account_id)
        known = changed_since(events[-1], 0) if events else {}
        return {name: state for name, state in known.items() if name not in OWN_TYPES}


def change(
    changed: Mapping[str, Mapping[str, str]],
    order: Mapping[str, Mapping[str, int]] | None = None,
) -> Json:
    body: Json = {"@type": "StateChange", "changed": changed}
    return body if order is None else {**body, "order": order}


@asynccontextmanager
async def append_api_running(
    nats_url: str,
    dsn: str,
    *,
    limits: RequestLimits | None = None,
    in_hand: InHandLimits | None = None,
    is_relaying: bool = True,
) -> AsyncIterator[RunningAppendApi]:
    """Without relaying it keeps what it is asked and appends nothing, as if it died there."""
    clock, draining, metrics = SystemClock(), asyncio.Event(), Metrics()
    http = HttpSettings(port=0, drain_seconds_max=1)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(http))
        pool = await stack.enter_async_context(open_pool(dsn))
        log = await stack.enter_async_context(open_writer(nats_url, pool))
        relay = Relay(pool, log, clock, metrics)
        authenticator = Authenticator(pool, clock=clock)
        await listen_control(log.bus, authenticator.receive_control)
        api = AppendApi(
            AppendResources(
                pool=pool,
                authenticator=authenticator,
                relay=relay,
                guard=log.guard,
                clock=clock,
                metrics=metrics,
                own_types=OWN_TYPES,
                limits=limits or RequestLimits(),
                in_hand=in_hand or InHandLimits(),
            )
        )
        if is_relaying:
            await stack.enter_async_context(running(relay.run()))
        await stack.enter_async_context(running(api.run()))
        await stack.enter_async_context(running(api.answer_bus(log.bus, draining)))
        app = Starlette(routes=api.routes())
        await stack.enter_async_context(_serving(serve(app, listener, http, draining), draining))
        name = f"producer-{secrets.token_hex(4)}"
        await add_user(pool, name)
        _, token = await issue_token(pool, name, ["append"])
        url = url_of(listener, http)
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, timeout=30, trust_env=False)
        )
        yield RunningAppendApi(url, nats_url, pool, log, relay, metrics, token, client)


@asynccontextmanager
async def _serving(
    serving: Coroutine[None, None, None], draining: asyncio.Event
) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serving)
        try:
            yield
        finally:
            draining.set()
