"""Takes the removal of accounts to its end, from wherever somebody died over it (docs/adr/0022)."""

from datetime import datetime, timedelta

import asyncpg

from shared.bus.connection import BusUnavailableError
from shared.bus.jetstream import JetStreamError
from shared.bus.publisher import AppendRefusedError
from shared.log.appender import LogUnavailableError
from shared.log.eraser import LogEraser
from shared.log.event import Cause
from shared.runtime.clock import utc_text
from shared.store.removals import (
    accounts_to_end,
    accounts_to_forget,
    erase_rows,
    forget_account,
    note_ended,
)

TOMBSTONE_KEPT = timedelta(hours=1)
"""Whoever read or wrote the account before has by then heard of its end, or lost its connection."""

_CAUSE = Cause(method="tidings account remove")
_LOG_ERRORS = (BusUnavailableError, JetStreamError, LogUnavailableError, AppendRefusedError)


class AccountRemovals:
    """Any number of processes may do the same at once: each step is harmless when repeated."""

    def __init__(self, pool: asyncpg.Pool, eraser: LogEraser) -> None:
        self._pool = pool
        self._eraser = eraser

    async def end(self, account_id: str, removed_at: datetime) -> None:
        """Erase all but the tombstone. The rows go also while the log is away.

        Raises LogUnavailableError: it is to be done again for the log. And POSTGRES_ERRORS.
        """
        failure: Exception | None = None
        try:
            await self._eraser.end(account_id, at=utc_text(removed_at), cause=_CAUSE)
        except _LOG_ERRORS as error:
            failure = error
        await erase_rows(self._pool, account_id)
        if failure is not None:
            raise LogUnavailableError(str(failure)) from failure
        await note_ended(self._pool, account_id)

    async def go_on(self, *, tombstone_kept: timedelta = TOMBSTONE_KEPT) -> list[str]:
        """End what began, and forget what ended long ago; returns the accounts that are gone.

        Raises as `end`, after the rows of all of them.
        """
        failure: LogUnavailableError | None = None
        for account_id, removed_at in await accounts_to_end(self._pool):
            try:
                await self.end(account_id, removed_at)
            except LogUnavailableError as error:
                failure = error
        if failure is not None:
            raise failure
        gone = []
        for account_id in await accounts_to_forget(self._pool, ended_before=tombstone_kept):
            try:
                is_erased = await self._eraser.forget(account_id)
            except _LOG_ERRORS as error:
                raise LogUnavailableError(str(error)) from error
            if is_erased:
                await forget_account(self._pool, account_id)
                gone.append(account_id)
        return gone
