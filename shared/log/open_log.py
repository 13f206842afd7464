"""The log as a process holds it: opened for appending, for reading, or both."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import msgspec

from shared.bus.connection import Bus, open_bus, watch_buses
from shared.bus.direct_get import DirectGet, LastMessages
from shared.bus.inbox import Inbox
from shared.bus.jetstream import JetStream
from shared.bus.publisher import Publisher
from shared.log.appender import Appender
from shared.log.batched_reader import BatchedReader
from shared.log.eraser import LogEraser
from shared.log.guard import LogGuard
from shared.log.keeper import LogKeeper
from shared.log.reader import LogReader
from shared.log.subjects import STREAM
from shared.log.tail import Tail
from shared.log.topology import LogSettings, stream_config
from shared.runtime.metrics import Metric, Metrics


class WritableLog(msgspec.Struct, frozen=True):
    """Run `guard` in the process's task group; `appender` refuses until it found the log sound."""

    bus: Bus
    keeper: LogKeeper
    guard: LogGuard
    appender: Appender
    eraser: LogEraser

    def watch(self, metrics: Metrics) -> None:
        """Whether it is sound, how large it is and who holds it, at each scrape."""
        watch_buses(metrics, [self.bus])

        def sample() -> None:
            metrics.set(Metric.LOG_SOUND, float(self.guard.is_sound))
            seen = self.keeper.seen
            if seen is not None:
                metrics.set(Metric.LOG_SEQUENCE, seen.state.last_seq)
                metrics.set(Metric.LOG_OCTETS, seen.state.octets)
                metrics.set(Metric.LOG_OCTETS_MAX, seen.config.get("max_bytes", -1))
                metrics.set(Metric.LOG_REPLICAS, seen.config.get("num_replicas", 1))
                metrics.set(Metric.LOG_REPLICAS_CURRENT, seen.replicas_current)

        metrics.on_scrape(sample)


class ReadableLog(msgspec.Struct, frozen=True):
    """One tail and any number of reads, each on a connection of its own."""

    tail: Tail
    reader: BatchedReader
    keeper: LogKeeper
    buses: tuple[Bus, Bus]

    def watch(self, metrics: Metrics) -> None:
        watch_buses(metrics, self.buses)

    def on_doubt(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a connection was lost or came back."""
        for bus in self.buses:
            bus.on_connection_change(listener)


class SharedLog(msgspec.Struct, frozen=True):
    """A durable consumer that several processes share, and reads; on a connection each."""

    bus: Bus
    reader: BatchedReader
    buses: tuple[Bus, Bus]

    def watch(self, metrics: Metrics) -> None:
        watch_buses(metrics, self.buses)


@asynccontextmanager
async def open_writable_log(
    nats_url: str,
    pool: asyncpg.Pool,
    *,
    name: str,
    settings: LogSettings | None = None,
    connect_seconds: float = 30,
) -> AsyncIterator[WritableLog]:
    """Raises BusUnavailableError, ServerTooOldError."""
    async with (
        open_bus(nats_url, name=f"{name} writer", connect_seconds=connect_seconds) as bus,
        Inbox[int](bus) as inbox,
    ):
        jetstream, publisher = JetStream(bus), Publisher(inbox)
        keeper = LogKeeper(pool, jetstream, publisher, stream_config(settings or LogSettings()))
        guard = LogGuard(keeper.ensure)
        appender = Appender(publisher, jetstream, is_sound=lambda: guard.is_sound)
        bus.on_connection_change(guard.doubt)
        bus.on_connection_change(appender.forget)
        eraser = LogEraser(pool, keeper, jetstream, publisher)
        yield WritableLog(bus, keeper, guard, appender, eraser)


@asynccontextmanager
async def open_readable_log(
    nats_url: str, pool: asyncpg.Pool, *, name: str
) -> AsyncIterator[ReadableLog]:
    """Raises BusUnavailableError, ServerTooOldError."""
    async with AsyncExitStack() as stack:
        tail_bus = await stack.enter_async_context(open_bus(nats_url, name=f"{name} tail"))
        read_bus = await stack.enter_async_context(open_bus(nats_url, name=f"{name} reader"))
        reads = await stack.enter_async_context(Inbox[LastMessages](read_bus))
        appends = await stack.enter_async_context(Inbox[int](tail_bus))
        jetstream = JetStream(tail_bus)
        keeper = LogKeeper(pool, jetstream, Publisher(appends), stream_config(LogSettings()))
        yield ReadableLog(
            Tail(tail_bus, jetstream),
            BatchedReader(LogReader(DirectGet(reads, STREAM))),
            keeper,
            (tail_bus, read_bus),
        )


@asynccontextmanager
async def open_shared_log(nats_url: str, *, name: str) -> AsyncIterator[SharedLog]:
    """Raises BusUnavailableError, ServerTooOldError."""
    async with (
        open_bus(nats_url, name=f"{name} consumer") as bus,
        open_bus(nats_url, name=f"{name} reader") as read_bus,
        Inbox[LastMessages](read_bus) as reads,
    ):
        reader = BatchedReader(LogReader(DirectGet(reads, STREAM)))
        yield SharedLog(bus, reader, (bus, read_bus))
