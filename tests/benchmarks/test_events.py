"""Reading a million events with a filter: memory stays flat, the rate is near a bare consumer's.

The store is in memory where there is a place for files in memory, since every event is synced to
disk while the log is prepared; both readers read the same.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.embedded.nats_server import NatsSettings
from services.cli.embedded.ports import free_port
from shared.bus.connection import Bus, open_bus
from shared.bus.jetstream import JetStream
from shared.log.cursor import Cursor, encode_cursor
from shared.log.event import CarriedState, Cause, Event, OrderedState, encode_event
from shared.log.subjects import STREAM, subject_of
from shared.log.topology import LogSettings, stream_config
from tests.support.processes import ROOT, environment_of_test
from tests.support.servers import NatsServer

pytestmark = pytest.mark.long

EVENTS = 1_000_000
PREPARATION_SECONDS = 60.0
ACCOUNTS = 20_000
CHUNK = 2_000
EPOCH = "benchmark"


async def _prepare(bus: Bus) -> int:
    """Events of many accounts, one in a thousand by `rare`; how many there was time for."""
    config = stream_config(LogSettings()) | {"metadata": {"epoch": EPOCH}}
    await JetStream(bus).create_stream(config)
    subjects = [subject_of(f"a{number:06}") for number in range(ACCOUNTS)]
    deadline = time.monotonic() + PREPARATION_SECONDS
    made = 0
    while made < EVENTS and time.monotonic() < deadline:
        for number in range(made, made + CHUNK - 1):
            await bus.client.publish(subjects[number % ACCOUNTS], _body(number))
        made += CHUNK
        subject = subjects[(made - 1) % ACCOUNTS]
        await bus.request(subject, _body(made - 1), timeout_seconds=30)
    return made


def _body(number: int) -> bytes:
    return encode_event(
        Event(
            changed={"Email": OrderedState(f"s{number}", number)},
            unchanged={
                name: CarriedState(f"s{number}", number, number)
                for name in ("Mailbox", "Thread", "EmailDelivery")
            },
            at="2026-01-01T00:00:00.000Z",
            cause=Cause(
                method="Email/set",
                request_id=f"r{number}",
                principal="rare" if number % 1_000 == 0 else "frequent",
            ),
        )
    )


def _measure(*arguments: str, environment: dict[str, str]) -> tuple[float, float, int]:
    """Seconds, MiB at most, lines."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment_of_test(environment),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = sum(1 for _ in process.stdout)
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return time.perf_counter() - begun, usage.ru_maxrss / 1024, lines


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        settings = NatsSettings(folder=Path(folder), port=free_port(), password="benchmark")
        server = NatsServer(settings)
        server.start()
        yield server
        server.stop()


async def test_reading_a_million_events_with_a_filter(nats: NatsServer, postgres_dsn: str) -> None:
    asyncio.get_running_loop().set_debug(False)
    async with open_bus(nats.url, name="benchmark") as bus:
        made = await _prepare(bus)
        info = await JetStream(bus).stream_info(STREAM)
    assert info is not None
    assert info.state.last_seq == made
    environment = {"TIDINGS_NATS_URL": nats.url, "TIDINGS_POSTGRES_URL": postgres_dsn}
    command = ("services.cli", "events", "--json", "--principal", "rare")

    async def measure(*arguments: str) -> tuple[float, float, int]:
        return await asyncio.to_thread(_measure, *arguments, environment=environment)

    nothing, _, _ = await measure(*command, "--after", encode_cursor(Cursor(EPOCH, made)))
    tenth = encode_cursor(Cursor(EPOCH, made // 10))
    _, memory_of_a_tenth, _ = await measure(*command, "--before", tenth)
    seconds, memory, lines = await measure(*command)
    bare = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "tests.benchmarks.bare_consumer", nats.url, str(made)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    rate, bare_rate = made / (seconds - nothing), made / float(bare.stdout)
    print(
        f"\n{made:,} events: {rate:,.0f}/s with a filter, {bare_rate:,.0f}/s bare "
        f"({rate / bare_rate:.0%}); {memory:.0f} MiB at most, {memory_of_a_tenth:.0f} MiB for a "
        f"tenth of them; {nothing:.1f} s of each run are not reading"
    )
    assert lines == made // 1_000
    assert rate > bare_rate / 2
    assert memory < memory_of_a_tenth + 16
