"""Readers that join and leave and writers that race each other, over the real log.

The law (docs/adr/0003): whoever holds a cursor knows every event of its accounts up to it, and
nobody is ever told an older state after a newer one.
"""

import asyncio
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import product

import asyncpg

from services.gateway.fan_out import FanOut, Update
from shared.log.appender import Appender, LogUnavailableError
from shared.log.cursor import decode_cursor
from shared.log.event import Cause, OrderedState, StoredEvent
from shared.log.open_log import ReadableLog, WritableLog, open_readable_log, open_writable_log
from shared.log.topology import LogSettings

AT = "2026-01-01T00:00:00.000Z"
TYPES = ("Email", "Mailbox", "Thread")


@dataclass
class Counts:
    events: int = 0
    sessions: int = 0
    refused: int = 0


@dataclass(eq=False)
class Reader:
    """A client with a view of its accounts, like one that keeps states between connections."""

    accounts: list[str]
    known: dict[tuple[str, str], int] = field(default_factory=dict)
    cursor: str | None = None
    violations: list[str] = field(default_factory=list)
    sessions: list[tuple[str, dict[tuple[str, str], int]]] = field(default_factory=list)

    is_watching: bool = False  # joined without a cursor: what it sees adds up to no view

    def receive(self, update: Update) -> None:
        if not self.is_watching:
            self._learn(update.account_id, dict(update.changed))
            self.cursor = update.cursor

    def resynchronise(self) -> None:
        self.violations.append("dropped by the fan-out")

    async def visit(self, fan_out: FanOut, *, seconds: float, cursor: str | None) -> None:
        """One connection."""
        self.is_watching = cursor is None
        joined = await fan_out.join(self, self.accounts, cursor)
        if self.is_watching:
            if joined.changed:
                self.violations.append("told something without having asked for it")
        else:
            for account_id, changed in joined.changed.items():
                self._learn(account_id, dict(changed))
            self.cursor = joined.cursor
        await asyncio.sleep(seconds)
        fan_out.leave(self)
        if self.cursor is not None:
            self.sessions.append((self.cursor, dict(self.known)))

    def _learn(self, account_id: str, changed: dict[str, str]) -> None:
        for type_name, state in changed.items():
            order = int(state[1:])
            known = self.known.get((account_id, type_name), 0)
            if order < known:
                self.violations.append(f"{account_id} {type_name}: s{order} after s{known}")
            self.known[account_id, type_name] = order


class Orders:
    """The change counters of the accounts, as PostgreSQL's row locks would hand them out."""

    def __init__(self) -> None:
        self.last: defaultdict[str, int] = defaultdict(int)
        self.newest: dict[tuple[str, str], int] = {}

    def mutate(self, account_id: str) -> dict[str, OrderedState]:
        self.last[account_id] += 1
        order = self.last[account_id]
        names = random.sample(TYPES, random.randint(1, len(TYPES)))
        for name in names:
            self.newest[account_id, name] = order
        return {name: OrderedState(f"s{order}", order) for name in names}


async def write(
    appender: Appender, orders: Orders, accounts: list[str], stop: asyncio.Event, counts: Counts
) -> None:
    while not stop.is_set():
        account_id = random.choice(accounts)
        states = orders.mutate(account_id)
        while True:  # as the sweeper would
            try:
                await appender.append(account_id, states, at=AT, cause=Cause())
            except LogUnavailableError:
                counts.refused += 1
                await asyncio.sleep(0.05)
            else:
                break
        counts.events += 1
        await asyncio.sleep(random.random() * 0.02)


async def come_and_go(
    reader: Reader, fan_outs: list[FanOut], stop: asyncio.Event, counts: Counts
) -> None:
    while not stop.is_set():
        draw = random.random()
        cursor = None if draw < 0.05 else "garbage" if draw < 0.1 else reader.cursor
        seconds = random.random() * 0.2
        try:
            await reader.visit(random.choice(fan_outs), seconds=seconds, cursor=cursor)
        except LogUnavailableError:
            counts.refused += 1
        counts.sessions += 1


@asynccontextmanager
async def open_writer(
    nats_url: str, pool: asyncpg.Pool, *, replicas: int = 1
) -> AsyncIterator[WritableLog]:
    async with AsyncExitStack() as stack:
        log = await stack.enter_async_context(
            open_writable_log(nats_url, pool, name="test", settings=LogSettings(replicas=replicas))
        )
        await stack.enter_async_context(running(log.guard.run()))
        await log.guard.epoch()
        yield log


@asynccontextmanager
async def open_fan_out(
    nats_url: str, pool: asyncpg.Pool, *, recent_accounts_max: int = 50_000
) -> AsyncIterator[FanOut]:
    async with open_readable_log(nats_url, pool, name="test") as log:
        fan_out = fan_out_over(log, recent_accounts_max)
        async with running(fan_out.run()):
            yield fan_out


def fan_out_over(log: ReadableLog, recent_accounts_max: int = 50_000) -> FanOut:
    fan_out = FanOut(
        log.tail, log.reader, log.keeper.verify, recent_accounts_max=recent_accounts_max
    )
    log.on_doubt(fan_out.doubt)
    return fan_out


@asynccontextmanager
async def running(loop: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """A process loop for the time of the block."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(loop)
        try:
            yield
        finally:
            task.cancel()


async def whole_log(log: ReadableLog, last_sequence: int) -> dict[str, list[StoredEvent]]:
    """Every event that the stream still holds, by account."""
    events: defaultdict[str, list[StoredEvent]] = defaultdict(list)
    log.tail.position = 0
    following = log.tail.follow(lambda account, stored: events[account].append(stored))
    async with running(following):
        async with asyncio.timeout(60):
            await log.tail.reached(last_sequence)
    return dict(events)


def violations(readers: list[Reader], truth: dict[str, list[StoredEvent]]) -> list[str]:
    """What a reader was told wrongly, or not told at or below a cursor that it held."""
    histories: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for account_id, events in truth.items():
        for stored in events:
            for name, state in stored.event.changed.items():
                histories[account_id, name].append((stored.sequence, state.order))
    found = [violation for reader in readers for violation in reader.violations]
    for reader in readers:
        for cursor_text, known in reader.sessions:
            cursor = decode_cursor(cursor_text)
            assert cursor is not None
            for key in product(reader.accounts, TYPES):
                place = bisect_right(histories[key], cursor.sequence, key=lambda it: it[0])
                order = histories[key][place - 1][1] if place else 0
                if known.get(key, 0) < order:
                    found.append(f"{key}: s{order} missed at {cursor_text}")
    return found
