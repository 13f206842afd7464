"""What is done now and then: history is trimmed, unused blobs are removed.

Every dispatcher does it; rows are locked or skipped, so they do not hinder each other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import asyncpg

from services.dispatcher.blob_store import BlobKeeper
from shared.store.appends import forget_keys
from shared.store.past import forget_past
from shared.store.pool import POSTGRES_ERRORS
from shared.store.records import trim_history

HISTORY = timedelta(days=31)  # RFC 8620 section 5.2: at least 30 days
_HISTORY_RECORDS = 5000
_INTERVAL_SECONDS = 60.0
APPEND_KEYS = timedelta(hours=24)
_APPEND_KEYS_AT_ONCE = 200_000
PAST = timedelta(days=31)  # of grants and of subscriptions that ended, for `tidings explain`
_PAST_AT_ONCE = 50_000

_log = logging.getLogger(__name__)


async def run_jobs(pool: asyncpg.Pool, keeper: BlobKeeper) -> None:
    """Until cancelled."""

    async def trim() -> int:
        return await trim_history(pool, older_than=HISTORY, records_max=_HISTORY_RECORDS)

    async def forget() -> int:
        return await forget_keys(pool, older_than=APPEND_KEYS, keys_max=_APPEND_KEYS_AT_ONCE)

    async def forget_old() -> int:
        return await forget_past(pool, older_than=PAST, rows_max=_PAST_AT_ONCE)

    while True:
        await asyncio.sleep(_INTERVAL_SECONDS)
        await _do("trim_history", trim)
        await _do("remove_unused_blobs", keeper.remove_unused)
        await _do("forget_append_keys", forget)
        await _do("forget_past", forget_old)


async def _do(name: str, job: Callable[[], Awaitable[int]]) -> None:
    try:
        count = await job()
    except POSTGRES_ERRORS as error:
        _log.warning("job_failed", extra={"job": name, "error": repr(error)})
        return
    if count:
        _log.info("job_done", extra={"job": name, "count": count})
