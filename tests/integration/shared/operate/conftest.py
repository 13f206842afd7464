from collections.abc import AsyncIterator, Iterator

import pytest

from shared.bus.connection import open_bus
from shared.bus.jetstream import JetStream
from shared.log.subjects import STREAM
from tests.support.explained import Explainer
from tests.support.servers import Databases
from tests.support.webhook_sink import WebhookSink, webhook_sink
from tests.support.webhooks import WebhookBench, webhook_bench


@pytest.fixture(scope="module")
def dsn_of_module(databases: Databases) -> Iterator[str]:
    with databases.fresh() as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def clean_nats_of_module(nats_url: str) -> str:
    async with open_bus(nats_url, name="clean") as bus:
        await JetStream(bus).delete_stream(STREAM)
    return nats_url


@pytest.fixture(scope="module")
async def bench(clean_nats_of_module: str, dsn_of_module: str) -> AsyncIterator[WebhookBench]:
    """One for all tests of a module: each has users and endpoints of its own."""
    async with webhook_bench(clean_nats_of_module, dsn_of_module) as bench:
        yield bench


@pytest.fixture(scope="module")
async def why(bench: WebhookBench) -> AsyncIterator[Explainer]:
    async with open_bus(bench.nats_url, name="explain") as bus:
        yield Explainer(bench.pool, bus, bench.vault)


@pytest.fixture(scope="module")
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink
