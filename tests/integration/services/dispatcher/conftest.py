from collections.abc import AsyncIterator

import pytest

from tests.support.dispatcher import JmapClient, RunningDispatcher, running_dispatcher


@pytest.fixture
async def dispatcher(postgres_dsn: str) -> AsyncIterator[RunningDispatcher]:
    async with running_dispatcher(postgres_dsn) as running:
        yield running


@pytest.fixture
async def client(dispatcher: RunningDispatcher) -> AsyncIterator[JmapClient]:
    """User `ada` with her personal account."""
    client = await dispatcher.user("ada")
    yield client
    await client.http.aclose()
