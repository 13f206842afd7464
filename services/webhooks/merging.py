"""From the log into the lanes, acknowledged at once: no endpoint can hold up the log's consumer."""

import asyncio
import logging
from collections.abc import Callable, Sequence

import asyncpg

from services.webhooks.recent_events import RecentEvents
from shared.bus.connection import Bus, BusUnavailableError
from shared.bus.jetstream import JetStream, JetStreamError
from shared.log.durable_reader import DurableReader
from shared.log.event import StoredEvent
from shared.log.pull import TailBrokenError
from shared.log.subjects import STREAM
from shared.runtime.metrics import Metric, Metrics
from shared.store.lanes import Merge, merge_into_all_lanes, merge_into_lanes
from shared.store.pool import POSTGRES_AWAY, POSTGRES_ERRORS

_log = logging.getLogger(__name__)

CONSUMER = "webhooks"
_RETRY_SECONDS = 0.5


class Merger:
    """Any number of them share the work; `merged` is called when a lane may have become due."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        bus: Bus,
        recent: RecentEvents,
        merged: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._pool = pool
        self._recent = recent
        self._merged = merged
        self._metrics = metrics
        self._jetstream = JetStream(bus)
        self._reader = DurableReader(bus, self._jetstream, CONSUMER, self._make_up)
        self.is_reading = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                self.is_reading = True
                await self._reader.read(self._take)
            except (
                TailBrokenError,
                BusUnavailableError,
                JetStreamError,
                *POSTGRES_ERRORS,
            ) as error:
                self.is_reading = False
                _log.warning("webhook_merge_broken", extra={"error": repr(error)})
            await asyncio.sleep(_RETRY_SECONDS)

    async def pending(self) -> int:
        """Events that no worker has merged. Raises BusUnavailableError, JetStreamError."""
        progress = await self._jetstream.consumer_progress(STREAM, CONSUMER)
        return progress.num_pending + progress.num_ack_pending

    async def _make_up(self, sequence: int) -> None:
        """The consumer is new, or a lost one's place is taken."""
        lanes = await merge_into_all_lanes(self._pool, sequence)
        _log.info("webhook_consumer_made", extra={"sequence": sequence, "lanes": lanes})
        self._merged()

    async def _take(self, events: Sequence[tuple[str, StoredEvent]]) -> None:
        newest: dict[tuple[str, str], int] = {}
        for account_id, stored in events:
            self._recent.add(account_id, stored)
            for type_name in stored.event.changed:
                key = (account_id, type_name)
                newest[key] = max(stored.sequence, newest.get(key, 0))
        merges = [Merge(*key, sequence) for key, sequence in newest.items()]
        lanes = await self._merge(merges)
        self._metrics.count(Metric.WEBHOOK_EVENTS, len(events))
        self._metrics.count(Metric.WEBHOOK_MERGES, lanes)
        if lanes:
            self._merged()

    async def _merge(self, merges: Sequence[Merge]) -> int:
        """Waits while PostgreSQL is away: the events come again meanwhile, which does no harm."""
        while True:
            try:
                return await merge_into_lanes(self._pool, merges)
            except POSTGRES_AWAY as error:
                _log.warning("webhook_merge_postponed", extra={"error": repr(error)})
                await asyncio.sleep(_RETRY_SECONDS)
