"""The end of push subscriptions whose time has come: they are erased, and with them old keys."""

import asyncio
import logging

import asyncpg

from services.dispatcher.push_subscriptions import Tell
from shared.bus.control import ControlMessage
from shared.store.pool import POSTGRES_ERRORS
from shared.store.push_subscriptions import delete_ended_push_subscriptions, vacuum_secrets
from shared.store.vapid_keys import destroy_retired_vapid_keys

INTERVAL_SECONDS = 5.0
VACUUM_SECONDS = 600.0
_BATCH = 1000

_log = logging.getLogger(__name__)


async def run_subscription_jobs(pool: asyncpg.Pool, tell: Tell) -> None:
    """Until cancelled; several dispatchers do it without hindering each other."""
    since_vacuum = 0.0
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        since_vacuum += INTERVAL_SECONDS
        try:
            await end_what_is_over(pool, tell)
            if since_vacuum >= VACUUM_SECONDS:
                since_vacuum = 0.0
                await vacuum_secrets(pool)
        except POSTGRES_ERRORS as error:
            _log.warning("subscription_jobs_failed", extra={"error": repr(error)})


async def end_what_is_over(pool: asyncpg.Pool, tell: Tell) -> None:
    """Expired subscriptions, those of ended credentials, those under retired keys; the keys last.

    Nothing is sent to them any more, whether they are erased yet or not.
    """
    while True:
        async with pool.acquire() as connection, connection.transaction():
            ended = await delete_ended_push_subscriptions(connection, count_max=_BATCH)
        if not ended:
            break
        _log.info("push_subscriptions_ended", extra={"count": len(ended)})
        await tell(ControlMessage(subscriptions_ended=ended))
    if keys := await destroy_retired_vapid_keys(pool):
        _log.info("vapid_keys_destroyed", extra={"keys": keys})
