"""States that method services report: into PostgreSQL with their outbox row, then into the log."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TypeAlias

import asyncpg
import msgspec

from services.dispatcher.append.commit import AppendAsked, commit_round
from services.dispatcher.append.request import Given
from shared.log.event import Cause
from shared.runtime.clock import Clock
from shared.store.outbox import OutboxEntry
from shared.store.pool import POSTGRES_ERRORS

_log = logging.getLogger(__name__)

_WAITING_MAX = 1000
_RETRY_SECONDS = 1.0

Follow: TypeAlias = Callable[[OutboxEntry], "asyncio.Future[int]"]
"""Appends what has committed; the future is done when the log has it, or does not take it now."""


class Reported(msgspec.Struct, frozen=True):
    """What one call changed."""

    given: Given
    cause: Cause


class Changes:
    """`run` it in the process's task group."""

    def __init__(
        self, pool: asyncpg.Pool, follow: Follow, clock: Clock, *, log_seconds: float
    ) -> None:
        self._pool = pool
        self._follow = follow
        self._clock = clock
        self._log_seconds = log_seconds
        self._waiting: asyncio.Queue[Reported] = asyncio.Queue(_WAITING_MAX)

    async def tell(self, reported: Reported) -> None:
        """Returns when the log has it, or will: kept in the outbox, or else here to be repeated."""
        try:
            appended = await self._keep(reported)
        except asyncio.CancelledError:  # the client went away, and it may not have committed
            self.tell_later(reported)
            raise
        except POSTGRES_ERRORS as error:
            _log.warning("outside_states_not_kept", extra={"error": repr(error)})
            self.tell_later(reported)
            return
        if appended:
            done, _ = await asyncio.wait(appended, timeout=self._log_seconds)
            if not _are_in_the_log(done, len(appended)):
                _log.warning("answer_before_log", extra={"accounts": sorted(reported.given)})

    def tell_later(self, reported: Reported) -> None:
        """For an answer that nobody waits for."""
        try:
            self._waiting.put_nowait(reported)
        except asyncio.QueueFull:  # what is left is the service's own outbox
            _log.error("outside_states_lost", extra={"accounts": sorted(reported.given)})

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            reported = await self._waiting.get()
            try:
                await self._keep(reported)
            except POSTGRES_ERRORS as error:
                _log.warning("outside_states_not_kept", extra={"error": repr(error)})
                self.tell_later(reported)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _keep(self, reported: Reported) -> "list[asyncio.Future[int]]":
        """One transaction, which may be repeated: only a greater order counts."""
        asked = AppendAsked(given=reported.given, digest=b"", cause=reported.cause)
        committed = await commit_round(self._pool, [asked], self._clock.now())
        return [self._follow(entry) for entry in committed.entries]


def _are_in_the_log(done: "Iterable[asyncio.Future[int]]", count: int) -> bool:
    return sum(future.exception() is None for future in done) == count
