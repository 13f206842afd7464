"""`python -m tests.benchmarks.appends`: events a second through the append API, in JSON.

Beside it, by turns, the floor: the same events published to the same stream by a pipelined
publisher that does nothing else. Appended is what the stream's last sequence says. BENCH_NATS,
BENCH_POSTGRES, BENCH_PORT and BENCH_PID name the servers, and the dispatcher.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import uvloop

from shared.bus.connection import open_bus
from shared.bus.inbox import Inbox
from shared.bus.jetstream import JetStream
from shared.bus.publisher import Publisher
from shared.log.event import Cause, Event, OrderedState, encode_event
from shared.log.subjects import STREAM, subject_of
from shared.store.credentials import issue_token
from shared.store.people import add_user
from shared.store.pool import open_pool

ROUNDS = 8
SECONDS = 1.5
WINDOW = 128  # of the floor
CONNECTIONS = 512
ACCOUNTS_OF_CONNECTION = 4
LARGE_REQUESTS_AT_ONCE = 4
ACCOUNTS_OF_LARGE = 250
CAUSE = Cause(method="tidings.append", request_id="0" * 16, principal="u" + "a" * 21)


class HttpConnection:
    """As little of a client as it can be: it shares the machine with what it measures."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._count = 0

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    async def post(self, body: bytes, *, key: str | None = None) -> bytes:
        keyed = f"Idempotency-Key: {key}\r\n" if key is not None else ""
        head = (
            f"POST /tidings/append HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\n{keyed}Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        content = await self._reader.readexactly(length)
        assert answer.startswith(b"HTTP/1.1 200"), answer + content
        assert content.startswith(b'{"cursor":"'), content
        return content

    def close(self) -> None:
        self._writer.close()


def change(account_ids: Sequence[str], number: int) -> bytes:
    changed = {account_id: {"Email": f"s{number:06}"} for account_id in account_ids}
    return json.dumps({"@type": "StateChange", "changed": changed}).encode()


class Round(msgspec.Struct, frozen=True):
    """Events a second of ours, and of the floor just before it; CPUs that the dispatcher used."""

    rate: float
    floor: float
    cpu: float


class Bench:
    def __init__(self, publisher: Publisher, jetstream: JetStream, connections: int) -> None:
        self._publisher = publisher
        self._jetstream = jetstream
        self._numbers = iter(range(10**9))
        self.accounts = [
            [f"abench{n}x{place}" for place in range(ACCOUNTS_OF_CONNECTION)]
            for n in range(connections)
        ]
        self._floor_sequences: dict[str, int] = {}

    @property
    def account_ids(self) -> list[str]:
        return [account_id for of_one in self.accounts for account_id in of_one]

    async def rate(self, work: Callable[[float], Awaitable[None]]) -> float:
        """Events a second that the stream has more."""
        before = await self._last_sequence()
        begun = time.perf_counter()
        await work(begun + SECONDS)
        seconds = time.perf_counter() - begun
        return (await self._last_sequence() - before) / seconds

    async def floor(self, until: float) -> None:
        """Each slot has accounts of its own, so that no append misses."""

        async def slot(number: int) -> None:
            while time.perf_counter() < until:
                count = next(self._numbers)
                account_id = f"afloor{number}x{count % ACCOUNTS_OF_CONNECTION}"
                event = Event(
                    changed={"Email": OrderedState(f"s{count:06}", count)},
                    unchanged={},
                    at="2026-01-01T00:00:00.000Z",
                    cause=CAUSE,
                )
                self._floor_sequences[account_id] = await self._publisher.append(
                    subject_of(account_id),
                    encode_event(event),
                    last_sequence=self._floor_sequences.get(account_id, 0),
                )

        await asyncio.gather(*(slot(number) for number in range(WINDOW)))

    async def small(
        self, connections: Sequence[HttpConnection], until: float, *, is_keyed: bool
    ) -> None:
        async def producer(connection: HttpConnection, account_ids: Sequence[str]) -> None:
            while time.perf_counter() < until:
                count = next(self._numbers)
                body = change([account_ids[count % len(account_ids)]], count)
                await connection.post(body, key=f"key{count:012}" if is_keyed else None)

        await asyncio.gather(*map(producer, connections, self.accounts))

    async def large(self, connections: Sequence[HttpConnection], until: float) -> None:
        accounts = self.account_ids
        parts = [
            accounts[start : start + ACCOUNTS_OF_LARGE]
            for start in range(0, ACCOUNTS_OF_LARGE * LARGE_REQUESTS_AT_ONCE, ACCOUNTS_OF_LARGE)
        ]

        async def producer(connection: HttpConnection, account_ids: Sequence[str]) -> None:
            while time.perf_counter() < until:
                await connection.post(change(account_ids, next(self._numbers)))

        await asyncio.gather(*map(producer, connections, parts))

    async def _last_sequence(self) -> int:
        info = await self._jetstream.stream_info(STREAM)
        assert info is not None
        return info.state.last_seq


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def main() -> None:
    port, pid = int(os.environ["BENCH_PORT"]), int(os.environ["BENCH_PID"])
    async with (
        open_pool(os.environ["BENCH_POSTGRES"]) as pool,
        open_bus(os.environ["BENCH_NATS"], name="bench") as bus,
        Inbox[int](bus) as inbox,
    ):
        bench = Bench(Publisher(inbox), JetStream(bus), CONNECTIONS)
        await add_user(pool, "producer")
        _, token = await issue_token(pool, "producer", ["append"])
        await pool.execute(
            "INSERT INTO accounts (id, name, is_personal)"
            " SELECT id, id, false FROM unnest($1::text[]) AS id",
            bench.account_ids,
        )
        connections = [HttpConnection(port, token) for _ in range(CONNECTIONS)]
        for connection in connections:
            await connection.open()
        ways: dict[str, Callable[[float], Awaitable[None]]] = {
            "small": lambda until: bench.small(connections, until, is_keyed=False),
            "small_keyed": lambda until: bench.small(connections, until, is_keyed=True),
            "large": lambda until: bench.large(connections, until),
        }
        for work in (bench.floor, *ways.values()):  # so that each account's last event is known
            await bench.rate(work)
        found: dict[str, list[Round]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, work in ways.items():
                floor = await bench.rate(bench.floor)
                before = cpu_seconds(pid)
                rate = await bench.rate(work)
                found[way].append(Round(rate, floor, (cpu_seconds(pid) - before) / SECONDS))
        for connection in connections:
            connection.close()
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    uvloop.run(main())
