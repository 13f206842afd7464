"""A console over real NATS and PostgreSQL, as `tidings up` has it, for the tests of a module."""

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from services.console.settings import ConsoleSettings
from services.webhooks.settings import WebhookSettings
from shared.bus.connection import open_bus
from shared.bus.jetstream import JetStream
from shared.log.subjects import STREAM
from shared.store.credentials import issue_token
from tests.support.console import ConsoleClient
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.push_subscriptions import endpoint_of, subscribe, update
from tests.support.servers import Databases
from tests.support.webhook_sink import WebhookSink, webhook_sink

ORIGIN_AT_ONCE_MAX = 7

_numbers = itertools.count(1)


class Operated:
    """For one test: an operator who has a user of her own. `script` has her token in a header,
    `page` has logged in with it.
    """

    def __init__(self, running: RunningEverything, name: str, jmap: JmapClient, token: str) -> None:
        self.running = running
        self.name = name
        self.jmap = jmap
        self.account = jmap.account_id
        self.token = token
        self.clients: list[ConsoleClient] = []
        self.address = f"192.0.2.{next(_numbers)}"
        self.script = self.client(token)
        self.page = self.client()

    @property
    def url(self) -> str:
        return self.running.url

    def client(self, token: str | None = None) -> ConsoleClient:
        self.clients.append(ConsoleClient(self.running.url, token, self.address))
        return self.clients[-1]

    async def token_of(self, *scopes: str) -> tuple[str, str]:
        """Id and token."""
        return await issue_token(self.running.everything.pool, self.name, scopes=scopes)


@pytest.fixture(scope="module")
def database(databases: Databases) -> Iterator[str]:
    with databases.fresh() as dsn:
        yield dsn


@pytest.fixture(scope="module")
def settings() -> ConsoleSettings:
    return ConsoleSettings(behind_proxy=True)


@pytest.fixture(scope="module")
async def running(
    nats_url: str, database: str, settings: ConsoleSettings
) -> AsyncIterator[RunningEverything]:
    async with open_bus(nats_url, name="clean") as bus:
        await JetStream(bus).delete_stream(STREAM)
    webhooks = WebhookSettings(origin_at_once_max=ORIGIN_AT_ONCE_MAX)
    async with everything_running(
        nats_url, database, console=settings, webhooks=webhooks
    ) as running:
        yield running


@pytest.fixture
async def operated(running: RunningEverything) -> AsyncIterator[Operated]:
    name = f"ada{next(_numbers)}"
    jmap, _ = await running.user(name)
    _, token = await issue_token(running.everything.pool, name, scopes=["operate"])
    operated = Operated(running, name, jmap, token)
    logged_in = await operated.page.log_in(token)
    assert logged_in.status_code == 200, logged_in.text
    yield operated
    for client in operated.clients:
        await client.http.aclose()


@pytest.fixture(scope="module")
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


@pytest.fixture
async def subscription(operated: Operated, sink: WebhookSink) -> str:
    """Verified."""
    subscription_id = str((await subscribe(operated.jmap, url=sink.url("/a")))["id"])
    endpoint = await endpoint_of(operated.running.everything.pool, subscription_id)
    await update(operated.jmap, subscription_id, verificationCode=endpoint.code)
    return subscription_id


@pytest.fixture
async def two_cards(operated: Operated) -> None:
    """In the log are three events of the user, two of them of cards."""
    for name in ("x", "y"):
        await operated.jmap.add_card(name={"full": name})

    async def are_there() -> bool:
        found = await operated.script.get("/events", account=operated.account)
        return len(found["events"]) == 3

    await eventually(are_there)


@pytest.fixture
def slow_replay(operated: Operated, subscription: str, two_cards: None) -> dict[str, Any]:
    """Waits for minutes between the first card and the second."""
    del two_cards
    types = ["ContactCard"]
    about = {"subscription": subscription, "account": operated.name, "types": types}
    return {**about, "speed": "0.00001"}
