"""Outbox to log: appends what committed, at once where it saw the commit, else by sweeping.

A process may die at any await here. A row that was appended and not marked is appended again,
which is a no-op; a row that was neither is found by any dispatcher's sweeper (docs/adr/0002).
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Protocol

import asyncpg

from shared.bus.publisher import AppendRefusedError
from shared.log.appender import Appender, LogUnavailableError
from shared.log.event import Cause, newest
from shared.log.guard import LogGuard
from shared.log.subjects import STREAM
from shared.runtime.clock import Clock
from shared.runtime.metrics import Metric, Metrics
from shared.runtime.traces import Span, SpanKind, Traces, sampled_links
from shared.store.outbox import (
    OutboxEntry,
    claim_left_behind,
    forget_published,
    mark_published,
    seconds_of_oldest_unpublished,
)
from shared.store.pool import POSTGRES_ERRORS
from shared.store.removals import account_exists

_log = logging.getLogger(__name__)

_APPENDS_AT_ONCE = 128
_WAITING_MAX = 20_000  # rows in memory; what is over is left to the sweeper
_MARK_SECONDS = 0.02  # rows are marked together
_SWEEP_SECONDS = 1.0
_SWEEP_ROWS = 500
_MEASURE_SECONDS = 2.0
_LEFT_BEHIND = timedelta(seconds=2)
_CLAIM = timedelta(seconds=5)
_KEEP_PUBLISHED = timedelta(hours=1)  # for those who ask what became of a change
_FORGET_SECONDS = 60.0


class RelayedLog(Protocol):
    """The two parts of a WritableLog that a relay uses."""

    @property
    def appender(self) -> Appender: ...

    @property
    def guard(self) -> LogGuard: ...


class Relay:
    """Give `wake` each entry after its commit; `run` it in the process's task group."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        log: RelayedLog,
        clock: Clock,
        metrics: Metrics,
        traces: Traces | None = None,
    ) -> None:
        self._pool = pool
        self._traces = traces or Traces()
        for outcome in ("postponed", "refused"):  # so that the first one is an increase
            metrics.count(Metric.APPENDS, 0, outcome=outcome)
        self._appender = log.appender
        self._guard = log.guard
        self._clock = clock
        self._metrics = metrics
        self._waiting: dict[str, list[OutboxEntry]] = {}  # by account
        self._waiting_rows = 0
        self._followers: dict[str, list[asyncio.Future[int]]] = {}  # of what waits, by account
        self._in_flight: set[str] = set()  # one append per account: more would race each other
        self._ready: asyncio.Queue[str] = asyncio.Queue()  # bounded by _WAITING_MAX
        self._appended: dict[int, int] = {}  # row id -> sequence, to be marked
        self._to_mark = asyncio.Event()
        self._is_failing = False

    def wake(self, entry: OutboxEntry) -> None:
        """Take an entry that has committed; never waits and never fails."""
        self._take(entry)

    def follow(self, entry: OutboxEntry) -> "asyncio.Future[int]":
        """As `wake`; the result is a sequence from which on the entry's states are known.

        LogUnavailableError: a sweeper will append it, AppendRefusedError: it will try. Wait by
        `asyncio.wait`, which does not cancel it for others.
        """
        appended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self._take(entry):
            self._followers.setdefault(entry.account_id, []).append(appended)
        else:
            _fail([appended], LogUnavailableError("too much waits to be appended"))
        return appended

    def _take(self, entry: OutboxEntry) -> bool:
        if self._waiting_rows >= _WAITING_MAX:
            return False
        self._waiting_rows += 1
        entries = self._waiting.get(entry.account_id)
        if entries is not None:
            entries.append(entry)
            return True
        self._waiting[entry.account_id] = [entry]
        if entry.account_id not in self._in_flight:
            self._ready.put_nowait(entry.account_id)
        return True

    async def run(self) -> None:
        """Runs until cancelled; what is left then is in the outbox."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_APPENDS_AT_ONCE):
                group.create_task(self._append_ready())
            group.create_task(self._mark_appended())
            group.create_task(self._sweep())
            group.create_task(self._measure())
            group.create_task(self._forget())

    async def _append_ready(self) -> None:
        while True:
            account_id = await self._ready.get()
            entries = self._waiting.pop(account_id)
            followers = self._followers.pop(account_id, ())
            self._waiting_rows -= len(entries)
            self._in_flight.add(account_id)
            try:
                sequence = await self._append(account_id, entries)
            except LogUnavailableError as error:
                self._metrics.count(Metric.APPENDS, outcome="postponed")
                self._note_failure(error)  # the sweeper comes back to it
                _fail(followers, error)
            except AppendRefusedError as error:
                self._metrics.count(Metric.APPENDS, outcome="refused")
                _log.error("append_refused", extra={"code": error.code, "error": str(error)})
                _fail(followers, error)
            else:
                for follower in followers:
                    follower.set_result(sequence)
            finally:
                self._in_flight.discard(account_id)
                if account_id in self._waiting:
                    self._ready.put_nowait(account_id)

    async def _append(self, account_id: str, entries: list[OutboxEntry]) -> int:
        """One event for all that is waiting of an account; it tells the cause of the last one."""
        states, cause = entries[0].states, entries[0].cause
        for entry in entries[1:]:
            states, cause = newest(states, entry.states), entry.cause.after(cause)
        last = entries[-1]
        sequence = await self._appender.append(
            account_id, states, at=last.at_text, cause=cause, exists=self._exists
        )
        rows = [entry.id for entry in entries if entry.id is not None]
        if rows:
            self._appended.update(dict.fromkeys(rows, sequence))
            self._to_mark.set()
        self._metrics.count(Metric.APPENDS, outcome="appended")
        waited = max(0.0, (self._clock.now() - entries[0].at).total_seconds())
        self._metrics.observe(Metric.APPEND_SECONDS, waited)
        self._trace(account_id, cause, sequence, waited)
        if self._is_failing:
            self._is_failing = False
            _log.warning("appends_resumed")
        return sequence

    def _trace(self, account_id: str, cause: Cause, sequence: int, seconds: float) -> None:
        context = self._traces.below(cause.traceparent)
        if context is not None and self._traces.wants(context):
            self._traces.tell(
                Span(
                    name="append",
                    context=context,
                    kind=SpanKind.PRODUCER,
                    seconds=seconds,
                    attributes={"tidings.account": account_id, "tidings.sequence": sequence},
                    links=sampled_links(cause.links),
                )
            )

    async def _exists(self, account_id: str) -> bool:
        """An entry may outlive its account here, such as in an outage of NATS."""
        try:
            return await account_exists(self._pool, account_id)
        except POSTGRES_ERRORS as error:
            raise LogUnavailableError(f"PostgreSQL: {error!r}") from error

    def _note_failure(self, error: LogUnavailableError) -> None:
        """Once per outage, however many rows wait for its end."""
        if not self._is_failing:
            self._is_failing = True
            _log.warning("appends_postponed", extra={"error": str(error)})

    async def _mark_appended(self) -> None:
        while True:
            await self._to_mark.wait()
            await asyncio.sleep(_MARK_SECONDS)
            epoch = await self._guard.epoch()
            self._to_mark.clear()
            appended, self._appended = self._appended, {}
            try:
                await mark_published(self._pool, appended, stream=STREAM, epoch=epoch)
            except POSTGRES_ERRORS as error:
                # The rows are found unpublished later, and appending them again is a no-op.
                _log.warning("outbox_not_marked", extra={"error": repr(error)})

    async def _sweep(self) -> None:
        while True:
            await self._guard.epoch()
            try:
                left_behind = await claim_left_behind(
                    self._pool,
                    older_than=_LEFT_BEHIND,
                    claim_for=_CLAIM,
                    entries_max=min(_SWEEP_ROWS, _WAITING_MAX - self._waiting_rows),
                )
            except POSTGRES_ERRORS as error:
                _log.warning("outbox_not_swept", extra={"error": repr(error)})
                left_behind = []
            for entry in left_behind:
                self.wake(entry)
            if len(left_behind) < _SWEEP_ROWS:
                await asyncio.sleep(_SWEEP_SECONDS)

    async def _measure(self) -> None:
        """Beside the sweeper, which waits while the log cannot be written: then it matters."""
        while True:
            try:
                oldest = await seconds_of_oldest_unpublished(self._pool)
            except POSTGRES_ERRORS as error:
                _log.info("outbox_not_measured", extra={"error": repr(error)})
            else:
                self._metrics.set(Metric.OUTBOX_OLDEST_SECONDS, oldest)
            await asyncio.sleep(_MEASURE_SECONDS)

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(_FORGET_SECONDS)
            try:
                await forget_published(self._pool, older_than=_KEEP_PUBLISHED)
            except POSTGRES_ERRORS as error:
                _log.warning("outbox_not_trimmed", extra={"error": repr(error)})


def _fail(followers: Iterable["asyncio.Future[int]"], error: Exception) -> None:
    for follower in followers:
        follower.set_exception(error)
        follower.exception()  # whoever gave up must not be reported as one who forgot to look
