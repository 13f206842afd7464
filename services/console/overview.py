"""How it all is just now, and how it was in the last minutes."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

import asyncpg
import msgspec

from shared.bus.connection import Bus, BusUnavailableError
from shared.bus.jetstream import JetStream, JetStreamError
from shared.log.cursor import decode_cursor
from shared.log.subjects import STREAM
from shared.operate.connections import ConnectionFilter, GatewayFacts
from shared.operate.gateways import GatewayBusyError, Gateways, NoGatewayError
from shared.runtime.clock import Clock, utc_text
from shared.store.lane_counts import LaneCounts, count_lanes
from shared.store.outbox import count_unpublished
from shared.store.pool import POSTGRES_ERRORS

_NOT_SAMPLED = (BusUnavailableError, JetStreamError, GatewayBusyError, *POSTGRES_ERRORS)

_log = logging.getLogger(__name__)

SAMPLE_SECONDS = 2.0
_SAMPLES_MAX = 300
_LOOKED_SECONDS = 900.0  # samples are taken until nobody has looked for so long


class LogFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    last_sequence: int
    messages: int
    bytes: int
    bytes_max: int | None  # None: no limit
    epoch: str


class OutboxFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Committed, and not in the log yet."""

    waiting: int
    oldest_seconds: float


class LaneFacts(msgspec.Struct, frozen=True, kw_only=True):
    converged: int
    behind: int
    failing: int
    paused: int
    unverified: int


class WebhookFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    lanes: LaneFacts
    oldest_seconds: float


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    at: str
    log: LogFacts
    outbox: OutboxFacts
    webhooks: WebhookFacts
    gateways: Sequence[GatewayFacts]
    silent: Sequence[str]  # ids of gateways that others know of, and that do not answer


class Sample(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`tail_seconds`: how far the slowest gateway is behind the log."""

    at: str
    events_per_second: float
    connections: int
    outbox_seconds: float
    webhook_seconds: float
    tail_seconds: float


class Samples(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of one process, oldest first; there are holes where nobody looked."""

    every_seconds: float
    samples: Sequence[Sample]


class Overviews:
    """`run` it, for samples."""

    def __init__(self, pool: asyncpg.Pool, bus: Bus, clock: Clock) -> None:
        self._pool = pool
        self._bus = bus
        self._jetstream = JetStream(bus)
        self._lanes = _Lanes(pool, clock)
        self._clock = clock
        self._samples = deque[Sample](maxlen=_SAMPLES_MAX)
        self._ends = deque[tuple[float, LogFacts]](maxlen=_SAMPLES_MAX)
        self._looked = asyncio.Event()
        self._looked_at = 0.0

    async def now(self) -> Overview:
        """Raises BusUnavailableError, JetStreamError, GatewayBusyError, POSTGRES_ERRORS."""
        log = await self._log_facts()
        waiting, oldest = await count_unpublished(self._pool)
        lanes = await self._lanes.counted()
        gateways, silent = await self._gateways()
        return Overview(
            at=utc_text(self._clock.now()),
            log=log,
            outbox=OutboxFacts(waiting=waiting, oldest_seconds=oldest),
            webhooks=WebhookFacts(
                lanes=LaneFacts(
                    converged=lanes.converged,
                    behind=lanes.behind,
                    failing=lanes.failing,
                    paused=lanes.paused,
                    unverified=lanes.unverified,
                ),
                oldest_seconds=lanes.oldest_seconds,
            ),
            gateways=gateways,
            silent=silent,
        )

    def samples(self) -> Samples:
        """Somebody looks, so more are taken."""
        self._looked_at = self._clock.monotonic()
        self._looked.set()
        return Samples(every_seconds=SAMPLE_SECONDS, samples=list(self._samples))

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._looked.wait()
            if self._clock.monotonic() > self._looked_at + _LOOKED_SECONDS:
                self._looked.clear()
                continue
            try:
                self._take(await self.now())
            except _NOT_SAMPLED as error:
                _log.info("console_sample_not_taken", extra={"error": repr(error)})
            await asyncio.sleep(SAMPLE_SECONDS)

    def _take(self, overview: Overview) -> None:
        now = self._clock.monotonic()
        rate = 0.0
        if self._ends:
            before, log = self._ends[-1]
            count = overview.log.last_sequence - log.last_sequence
            rate = max(0, count) / max(now - before, SAMPLE_SECONDS)
        self._samples.append(
            Sample(
                at=overview.at,
                events_per_second=round(rate, 2),
                connections=sum(sum(one.connections.values()) for one in overview.gateways),
                outbox_seconds=round(overview.outbox.oldest_seconds, 3),
                webhook_seconds=round(overview.webhooks.oldest_seconds, 3),
                tail_seconds=round(self._tail_seconds(overview, now), 3),
            )
        )
        self._ends.append((now, overview.log))

    def _tail_seconds(self, overview: Overview, now: float) -> float:
        """Since the log was seen to have something that a gateway has not passed on."""
        places = [decode_cursor(gateway.cursor) for gateway in overview.gateways]
        known = [place.sequence for place in places if place and place.epoch == overview.log.epoch]
        if not known:
            return 0.0
        slowest = min(known)
        for seen_at, log in self._ends:
            if log.epoch == overview.log.epoch and log.last_sequence > slowest:
                return now - seen_at
        return 0.0

    async def _log_facts(self) -> LogFacts:
        info = await self._jetstream.stream_info(STREAM)
        if info is None or info.epoch is None:
            raise BusUnavailableError("there is no log yet")
        octets_max = info.config.get("max_bytes", -1)
        return LogFacts(
            last_sequence=info.state.last_seq,
            messages=info.state.messages,
            bytes=info.state.octets,
            bytes_max=octets_max if octets_max > 0 else None,
            epoch=info.epoch,
        )

    async def _gateways(self) -> tuple[Sequence[GatewayFacts], Sequence[str]]:
        """Those that answer, and those that do not."""
        try:
            listing = await Gateways(self._bus, by="console").find(ConnectionFilter(), count=0)
        except NoGatewayError:
            return (), ()
        return listing.gateways, listing.silent


class _Lanes:
    """All are looked at to count them, so those who ask at about the same time share it."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._turn = asyncio.Lock()
        self._counts: LaneCounts | None = None
        self._counted_at = 0.0

    async def counted(self) -> LaneCounts:
        """Of the last two seconds. Raises POSTGRES_ERRORS."""
        async with self._turn:
            now = self._clock.monotonic()
            if self._counts is None or now >= self._counted_at + SAMPLE_SECONDS:
                self._counts = await count_lanes(self._pool)
                self._counted_at = now
            return self._counts
