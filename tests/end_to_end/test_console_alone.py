"""`tidings console`, a process of its own, while what it stands on goes away and comes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from services.cli.embedded.ports import free_port
from shared.store.credentials import issue_token
from shared.store.migrate import migrate
from shared.store.people import add_user
from shared.store.pool import open_pool
from tests.support.console import ConsoleClient, streaming
from tests.support.dispatcher import SECRET_KEY, JmapClient
from tests.support.eventually import PATIENCE, eventually
from tests.support.processes import Process
from tests.support.servers import NatsServer, PostgresServer

pytestmark = pytest.mark.end_to_end


@dataclass
class Alone:
    """A console and a dispatcher, each a process."""

    console: ConsoleClient
    jmap: JmapClient

    async def status(self, path: str) -> int:
        return (await self.console.http.get(path)).status_code

    async def has(self, path: str, status: int) -> None:
        async def answers() -> bool:
            try:
                return await self.status(path) == status
            except httpx.TransportError:
                return False

        await eventually(answers, seconds=30)

    async def change(self) -> None:
        """Asked again while the dispatcher comes back."""

        async def made() -> bool:
            try:
                await self.jmap.add_card(name={"full": "Grace"})
            except (httpx.HTTPError, AssertionError):
                return False
            return True

        await eventually(made, seconds=30)


@pytest.fixture
async def alone(fresh_nats: NatsServer, fresh_postgres: PostgresServer) -> AsyncIterator[Alone]:
    environment = {
        "TIDINGS_NATS_URL": fresh_nats.url,
        "TIDINGS_POSTGRES_URL": fresh_postgres.dsn,
        "TIDINGS_SECRET_KEY": SECRET_KEY,
    }
    async with AsyncExitStack() as stack:
        await migrate(fresh_postgres.dsn)
        pool = await stack.enter_async_context(open_pool(fresh_postgres.dsn))
        _, account_id = await add_user(pool, "ada")
        tokens = [(await issue_token(pool, "ada", [scope]))[1] for scope in ("jmap", "operate")]
        urls = []
        for kind in ("dispatcher", "console"):
            port = free_port()
            process = Process(kind, environment={**environment, "TIDINGS_PORT": str(port)})
            stack.callback(process.close)
            urls.append(f"http://127.0.0.1:{port}")
        alone = Alone(ConsoleClient(urls[1], tokens[1]), JmapClient(urls[0], tokens[0], account_id))
        await stack.enter_async_context(alone.console.http)
        await stack.enter_async_context(alone.jmap.http)
        await alone.change()
        await alone.has("/events", 200)
        yield alone


async def test_nats_goes_and_comes_back_under_a_stream(
    alone: Alone, fresh_nats: NatsServer
) -> None:
    async with streaming(alone.console, type="ContactCard") as messages:
        fresh_nats.kill()
        assert await _next(messages, "live") == {"live": False}
        refused = await alone.console.http.get("/events")
        assert refused.status_code == 503
        assert refused.json()["detail"] == "NATS does not answer now."
        assert refused.headers["retry-after"]
        assert await alone.status("/subscriptions") == 200, "which needs only the database"
        fresh_nats.start()
        assert await _next(messages, "live") == {"live": True}
        await alone.change()
        assert set((await _next(messages, "event"))["changed"]) == {"ContactCard"}
        await alone.has("/events", 200)


async def test_postgresql_goes_and_comes_back_under_a_stream(
    alone: Alone, fresh_postgres: PostgresServer
) -> None:
    async with streaming(alone.console, type="ContactCard") as messages:
        fresh_postgres.kill()
        refused = await alone.console.http.get("/subscriptions")
        assert refused.status_code == 503
        assert refused.json()["detail"] == "The database does not answer now."
        fresh_postgres.start()
        await alone.has("/subscriptions", 200)
        await alone.change()
        assert set((await _next(messages, "event"))["changed"]) == {"ContactCard"}


async def _next(messages: AsyncIterator[tuple[str, Any]], kind: str) -> Any:
    async with asyncio.timeout(30 * PATIENCE):
        async for found, data in messages:
            if found == kind:
                return data
    raise AssertionError(f"the stream ended without {kind}")
