"""Accounts whose removal began are taken to their end, by every dispatcher (docs/adr/0022)."""

import asyncio
import logging

from shared.log.appender import LogUnavailableError
from shared.log.removals import AccountRemovals
from shared.store.pool import POSTGRES_ERRORS

_log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 5.0


async def run_removals(removals: AccountRemovals) -> None:
    """Until cancelled. Does what the command that began a removal could not do, or died over."""
    while True:
        await asyncio.sleep(_INTERVAL_SECONDS)
        try:
            gone = await removals.go_on()
        except (LogUnavailableError, *POSTGRES_ERRORS) as error:
            _log.warning("removal_postponed", extra={"error": repr(error)})
        else:
            if gone:
                _log.info("accounts_gone", extra={"accounts": gone})
