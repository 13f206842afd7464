"""What can be measured, each against a target that runs."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Protocol

import msgspec

from services.cli.bench.client import (
    FAILURES,
    TYPE,
    Caller,
    Ears,
    Listeners,
    authorization,
    session,
)
from services.cli.bench.cpu import Meter, resident_octets
from services.cli.bench.report import spread_of
from services.cli.bench.sink import Sink
from services.cli.bench.target import Cast, Target
from shared.runtime.errors import CouldNotStartError

_PAUSE_SECONDS = 0.05
"""Between changes: a connection that was just told something is told the next one a little later
(TIDINGS_GATEWAY_FLUSH_MILLISECONDS), which is not what a push takes."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """`samples` are seconds, one for each of `unit` that was counted."""

    unit: str
    samples: Sequence[float]
    failures: int
    seconds: float
    cpu: Mapping[str, float]
    more: Mapping[str, float] = {}


class Measure(Protocol):
    async def __call__(
        self, target: Target, cast: Cast, *, connections: int, seconds: float
    ) -> Found: ...


async def measure_latency(target: Target, cast: Cast, *, connections: int, seconds: float) -> Found:
    """From a call that changes something to the push at each of the connections."""
    ears = Ears(connections)
    async with session() as http, asyncio.TaskGroup() as tasks:
        listeners = Listeners(http, target, cast, tasks)
        opened = await listeners.open(connections, ears, websockets=True)
        _require_open(opened, connections)
        caller = Caller(http, target, cast)
        found = await _changes(caller, ears, target, seconds, pause_seconds=_PAUSE_SECONDS)
        await listeners.close()
    return msgspec.structs.replace(found, unit="pushes")


async def measure_connections(
    target: Target, cast: Cast, *, connections: int, seconds: float
) -> Found:
    """Event sources opened at once; then, again and again, all closed and resumed."""
    ears = Ears(connections)
    async with session() as http, asyncio.TaskGroup() as tasks:
        listeners = Listeners(http, target, cast, tasks)
        caller = Caller(http, target, cast)
        await caller.change()
        before = _resident(target)
        meter, begun = Meter(target.pids), perf_counter()
        samples = await listeners.open(connections, ears, websockets=False)
        took = perf_counter() - begun
        _require_open(samples, connections)
        more = {"openedPerSecond": round(connections / took, 1)}
        if before:
            more["octetsPerConnection"] = (_resident(target) - before) // connections
        await ears.times(await caller.change())  # each has a cursor now
        resumed = 0
        resuming = 0.0
        while resumed == 0 or perf_counter() - begun < seconds:
            await listeners.close()
            await caller.change()
            start = perf_counter()
            again = await listeners.open(connections, ears, websockets=False, resumed=True)
            resuming += perf_counter() - start
            samples += again
            resumed += len(again)
        more["resumedPerSecond"] = round(resumed / resuming, 1)
        lasted = perf_counter() - begun
        cpu = meter.cores(lasted)
        await listeners.close()
    return Found(
        unit="connections",
        samples=samples,
        failures=listeners.lost,
        seconds=took + resuming,
        cpu=cpu,
        more=more,
    )


async def measure_append(target: Target, cast: Cast, *, connections: int, seconds: float) -> Found:
    """Requests of one change each, so many at once; answered once the log has it on disk."""
    samples: list[float] = []
    failures = 0
    async with session() as http:
        meter, begun = Meter(target.pids), perf_counter()

        async def append(number: int) -> None:
            nonlocal failures
            account_id = cast.append_ids[number % len(cast.append_ids)]
            while perf_counter() - begun < seconds:
                states = {account_id: {"Bench": secrets.token_hex(4)}}
                body = {"@type": "StateChange", "changed": states}
                start = perf_counter()
                try:
                    async with http.post(
                        f"{target.url}/tidings/append",
                        json=body,
                        headers=authorization(cast.tokens[0]),
                    ) as response:
                        response.raise_for_status()
                        await response.read()
                except FAILURES:
                    failures += 1
                else:
                    samples.append(perf_counter() - start)

        await asyncio.gather(*(append(number) for number in range(connections)))
        lasted = perf_counter() - begun
        cpu = meter.cores(lasted)
    return Found(unit="appends", samples=samples, failures=failures, seconds=lasted, cpu=cpu)


async def measure_deliveries(
    target: Target, cast: Cast, *, connections: int, seconds: float
) -> Found:
    """From a call that changes something to the POST at each of the webhooks, here."""
    ears = Ears(connections)
    sink = Sink(cast, ears)
    async with session() as http, sink.served() as url:
        caller = Caller(http, target, cast)
        create = {
            f"k{number}": {"deviceClientId": str(number), "url": f"{url}/{number}", "types": [TYPE]}
            for number in range(connections)
        }
        answer = await caller.call("PushSubscription/set", {"create": create})
        if answer.get("notCreated"):
            raise CouldNotStartError(f"Not subscribed: {next(iter(answer['notCreated'].values()))}")
        await sink.verify(caller, connections)
        found = await _changes(caller, ears, target, seconds)
        ids = [created["id"] for created in answer["created"].values()]
        await caller.call("PushSubscription/set", {"destroy": ids})
    return msgspec.structs.replace(found, unit="deliveries")


async def _changes(
    caller: Caller, ears: Ears, target: Target, seconds: float, *, pause_seconds: float = 0
) -> Found:
    """One change after the other, each once everybody has heard of the one before."""
    await ears.times(await caller.change())  # the first makes the card
    samples: list[float] = []
    calls: list[float] = []
    failures = 0
    meter, begun = Meter(target.pids), perf_counter()
    while perf_counter() - begun < seconds:
        start = perf_counter()
        try:
            state = await caller.change()
        except FAILURES:
            failures += ears.count
            continue
        calls.append(perf_counter() - start)
        times = await ears.times(state)
        samples += [at - start for at in times]
        failures += ears.count - len(times)
        await asyncio.sleep(pause_seconds)
    lasted = perf_counter() - begun
    call = spread_of(calls)
    return Found(
        unit="",
        samples=samples,
        failures=failures,
        seconds=lasted,
        cpu=meter.cores(lasted),
        more={} if call is None else {"callMillisecondsP50": call.p50},
    )


def _require_open(opened: Sequence[float], connections: int) -> None:
    if len(opened) < connections:
        raise CouldNotStartError(
            f"Only {len(opened)} of {connections} connections could be opened: look at the limits "
            "TIDINGS_GATEWAY_CONNECTIONS_MAX and of open files (ulimit -n), here and there."
        )


def _resident(target: Target) -> int:
    pid = target.pids.get("tidings")
    return 0 if pid is None else resident_octets(pid)
