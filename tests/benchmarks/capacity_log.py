"""`python -m tests.benchmarks.capacity_log`: what accounts and events cost the log; prints JSON.

For docs/scaling.md. The stream is filled on a server that does not sync (filling is not what is
measured); appends are counted on the same store under a server that does. CPU and memory are those
of the nats-server's process, read from /proc.
"""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import uvloop

from services.cli.embedded.child import Child, ChildSpec
from services.cli.embedded.nats_server import NatsSettings, nats_child
from services.cli.embedded.ports import free_port
from shared.bus.connection import open_bus
from shared.bus.inbox import Inbox
from shared.bus.jetstream import JetStream
from shared.bus.publisher import Publisher
from shared.log.event import CarriedState, Cause, Event, OrderedState, encode_event
from shared.log.subjects import STREAM, subject_of
from shared.log.tail import Tail
from shared.log.topology import LogSettings, stream_config
from tests.benchmarks.appends import cpu_seconds
from tests.support.eventually import wait_until

FILLS = [int(count) for count in os.environ.get("CAPACITY_ACCOUNTS", "100000,500000").split(",")]
HISTORY_ACCOUNTS = 2_000
HISTORY = 64
APPENDS = 4_000
WINDOW = 128
TAILS = (0, 1, 4, 8)
ROUNDS = 3


class Nats:
    """One store; `start` again with or without a sync of every write."""

    def __init__(self, folder: Path) -> None:
        self.settings = NatsSettings(folder=folder, port=free_port(), password="p" * 32)
        self._child: Child | None = None

    def start(self, *, is_synced: bool) -> float:
        """Seconds until it greets, which it does once its streams are recovered."""
        spec = nats_child(self.settings)
        if not is_synced:
            spec = self._without_sync(spec)
        begun = time.perf_counter()
        self._child = Child(spec)
        self._child.start()
        wait_until(self._child.is_ready, seconds=120, what=self._child.last_words)
        return time.perf_counter() - begun

    def _without_sync(self, spec: ChildSpec) -> ChildSpec:
        """The same configuration in the server's own folder, less one line."""
        for given in Path(spec.command[2]).parent.glob("*.conf"):
            text = given.read_text(encoding="utf-8").replace("sync_interval: always", "")
            (self.settings.folder / given.name).write_text(text, encoding="utf-8")
        path = self.settings.folder / Path(spec.command[2]).name
        return msgspec.structs.replace(
            spec, command=(*spec.command[:2], str(path), *spec.command[3:])
        )

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    @property
    def pid(self) -> int:
        assert self._child is not None
        assert self._child.pid is not None
        return self._child.pid

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024

    def disk(self) -> int:
        store = self.settings.folder / "nats"
        return sum(path.stat().st_blocks * 512 for path in store.rglob("*") if path.is_file())


def body(number: int) -> bytes:
    """A change of one type, of an account that has two."""
    return encode_event(
        Event(
            changed={"ContactCard": OrderedState(f"s{number}", number)},
            unchanged={"AddressBook": CarriedState("s1", 1, 1_000_000)},
            at="2026-01-01T00:00:00.000Z",
            cause=Cause(method="ContactCard/set", request_id="0" * 16, principal="u" + "a" * 21),
        )
    )


def account(number: int) -> str:
    return f"a{number:021d}"  # as long as ours are


class Appending:
    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._sequences: dict[int, int] = {}

    async def append(self, accounts: range, *, at_once: int = WINDOW) -> None:
        """One event to each account, under compare-and-set."""
        left = iter(accounts)

        async def slot() -> None:
            for number in left:
                self._sequences[number] = await self._publisher.append(
                    subject_of(account(number)),
                    body(self._sequences.get(number, 0) + 1),
                    last_sequence=self._sequences.get(number, 0),
                    timeout_seconds=60,
                )

        await asyncio.gather(*(slot() for _ in range(at_once)))


@asynccontextmanager
async def appending(nats: Nats) -> AsyncIterator[tuple[Appending, JetStream]]:
    async with (
        open_bus(nats.settings.url, name="capacity") as bus,
        Inbox[int](bus) as inbox,
    ):
        yield Appending(Publisher(inbox)), JetStream(bus)


async def filled(nats: Nats) -> dict[str, object]:
    """Memory and disk by number of accounts with one event each, then those of full histories."""
    found: dict[str, object] = {"memory_empty": nats.memory(), "disk_empty": nats.disk()}
    async with appending(nats) as (appender, jetstream):
        await jetstream.create_stream(stream_config(LogSettings(bytes_max=2**36)))
        done = 0
        for count in FILLS:
            before = cpu_seconds(nats.pid)
            await appender.append(range(done, count), at_once=512)
            found[f"{count}"] = {
                "memory": nats.memory(),
                "disk": nats.disk(),
                "cpu_us_per_append": (cpu_seconds(nats.pid) - before) / (count - done) * 1e6,
            }
            done = count
        before_memory, before_disk = nats.memory(), nats.disk()
        for _ in range(HISTORY - 1):
            await appender.append(range(HISTORY_ACCOUNTS))
        events = HISTORY_ACCOUNTS * (HISTORY - 1)
        found["event"] = {
            "body_bytes": len(body(12345)),
            "disk": (nats.disk() - before_disk) / events,
            "memory": (nats.memory() - before_memory) / events,
        }
    return found


async def synced(nats: Nats, first: int) -> dict[str, list[dict[str, float]]]:
    """Appends under sync, alone and beside tails."""
    found: dict[str, list[dict[str, float]]] = {}
    async with appending(nats) as (appender, _):
        for _ in range(ROUNDS):
            for tails in TAILS:
                async with following(nats, tails) as counts:
                    begun, before = time.perf_counter(), cpu_seconds(nats.pid)
                    await appender.append(range(first, first + APPENDS))
                    first += APPENDS
                    seconds = time.perf_counter() - begun
                    used = cpu_seconds(nats.pid) - before
                    assert counts[0] >= (APPENDS * tails) * 0.9, counts
                found.setdefault(f"tails_{tails}", []).append(
                    {
                        "appends_per_second": APPENDS / seconds,
                        "cpu_us_per_append": used / APPENDS * 1e6,
                    }
                )
    return found


@asynccontextmanager
async def following(nats: Nats, tails: int) -> AsyncIterator[list[int]]:
    counts = [0]

    def receive(_account_id: str, _event: object) -> None:
        counts[0] += 1

    async with AsyncExitStack() as stack:
        tasks = []
        for number in range(tails):
            bus = await stack.enter_async_context(
                open_bus(nats.settings.url, name=f"tail-{number}")
            )
            jetstream = JetStream(bus)
            tail = Tail(bus, jetstream)
            info = await jetstream.stream_info(STREAM)
            assert info is not None
            tail.move_to(info.state.last_seq)
            tasks.append(asyncio.ensure_future(tail.follow(receive)))
        await asyncio.sleep(0.5 if tails else 0)
        yield counts
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    with TemporaryDirectory(prefix="tidings-capacity-") as folder:
        nats = Nats(Path(folder))
        try:
            nats.start(is_synced=False)
            found: dict[str, object] = {"filled": uvloop.run(filled(nats))}
            nats.stop()
            seconds = nats.start(is_synced=True)
            found["restart"] = {"seconds": seconds, "memory": nats.memory()}
            found["synced"] = uvloop.run(synced(nats, FILLS[-1]))
        finally:
            nats.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
