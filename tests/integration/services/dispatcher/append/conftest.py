from collections.abc import AsyncIterator

import pytest

from tests.support.appends import RunningAppendApi, append_api_running


@pytest.fixture
async def api(clean_nats_url: str, postgres_dsn: str) -> AsyncIterator[RunningAppendApi]:
    async with append_api_running(clean_nats_url, postgres_dsn) as running:
        yield running
