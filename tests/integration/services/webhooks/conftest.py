from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.webhook_sink import WebhookSink, webhook_sink
from tests.support.webhooks import WebhookBench, webhook_bench


@pytest.fixture
async def bench(clean_nats_url: str, postgres_dsn: str) -> AsyncIterator[WebhookBench]:
    async with webhook_bench(clean_nats_url, postgres_dsn) as bench:
        yield bench


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    """Over plain HTTP, which an exempt host may have."""
    with webhook_sink() as sink:
        yield sink
