"""Servers to measure, each a process of its own: `python -m tests.benchmarks.servers KIND`.

Prints its port, then answers each line of standard input with a line of JSON:
`memory` -> resident bytes; `broadcast COUNT` -> CPU seconds of COUNT broadcasts to all who listen;
`each COUNT` -> of COUNT events of each client's own account.
"""

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from typing import Any, Protocol, cast

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from services.gateway import authority
from services.gateway.admission import Admission, Limits
from services.gateway.connections import Connections
from services.gateway.entrance import Entrance
from services.gateway.event_source_route import EventSourceRoute
from services.gateway.fan_out import FanOut
from services.gateway.frames import chunk, text_frame
from services.gateway.handoff import HandoffHttpProtocol
from services.gateway.recent_events import RecentEvents
from services.gateway.settings import GatewaySettings
from services.gateway.timed_fan_out import TimedFanOut
from services.gateway.websocket_route import WebSocketRoute
from shared.http import authentication
from shared.log.event import Event, OrderedState, StoredEvent, encode_event
from shared.log.keeper import SoundLog
from shared.log.reader import Snapshot
from shared.log.stored import stored_event
from shared.log.subjects import subject_of
from shared.runtime.clock import SystemClock
from shared.runtime.serve import HttpSettings, listen, serve
from shared.runtime.traces import Traces
from tests.support.everything import RunningEverything, everything_running
from tests.support.gateway import credential_of, echo

BETWEEN_SECONDS = 0.1  # above the flush time, so that each broadcast is sent as it is
SHARED_ACCOUNT = "ashared"
UNWATCHED_EVENTS = 20_000
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_DATA = b'{"@type":"StateChange","changed":{"ashared":{"Email":"s%d","Mailbox":"s%d"}}%b}'
_PUSH_STATE = b',"pushState":"1.abcdefghijkl.%d"'
EVENT = Event(
    changed={"Email": OrderedState("s1", 1), "Mailbox": OrderedState("s1", 1)},
    unchanged={},
    at="2026-01-01T00:00:00.000Z",
)


class Subject(Protocol):
    async def start(self) -> int:
        """The port that it listens on."""
        ...

    def broadcast(self, number: int) -> None: ...


class Floor:
    """The least that can be done by hand: a transport per client, and a write to each."""

    def __init__(self, *, is_websocket: bool) -> None:
        self._is_websocket = is_websocket
        self.head = b"HTTP/1.1 101 Switching\r\n\r\n" if is_websocket else _HEAD
        self.transports: set[asyncio.Transport] = set()

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _FloorProtocol(self), "127.0.0.1", 0, backlog=4096
        )
        return int(server.sockets[0].getsockname()[1])

    def broadcast(self, number: int) -> None:
        if self._is_websocket:
            frame = text_frame(_DATA % (number, number, _PUSH_STATE % number))
        else:
            data = _DATA % (number, number, b"")
            frame = chunk(b"event: state\nid: 1.abcdefghijkl.%d\ndata: %b\n\n" % (number, data))
        for transport in self.transports:
            transport.write(frame)


class _FloorProtocol(asyncio.Protocol):
    __slots__ = ("_floor", "_transport")

    def __init__(self, floor: Floor) -> None:
        self._floor = floor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" in data:
            self._transport.write(self._floor.head)
            self._floor.transports.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._floor.transports.discard(self._transport)


class StarletteStreams:
    """As most write it: a queue and a StreamingResponse for each client."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes]] = set()

    async def start(self) -> int:
        return await _serve(Starlette(routes=[Route("/jmap/eventsource", self._answer)]), None)

    async def _answer(self, _: Request) -> StreamingResponse:
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue(100)
        self._queues.add(queue)
        try:
            yield b": hello\n"
            while True:
                yield await queue.get()
        finally:
            self._queues.discard(queue)

    def broadcast(self, number: int) -> None:
        data = _DATA % (number, number, b"")
        event = b"event: state\nid: 1.abcdefghijkl.%d\ndata: %b\n\n" % (number, data)
        for queue in self._queues:
            queue.put_nowait(event)


class Tidings:
    """The gateway over its real fan-out, whose log is made up; each client is a user of its own."""

    def __init__(self, *, frames_kept: int = GatewaySettings().frames_kept) -> None:
        settings = GatewaySettings(connections_per_address_max=50_000)
        self._tail = _SilentTail()
        self.fan_out = TimedFanOut(
            self._tail, _NoReader(), _sound_log, now=SystemClock().now, traces=Traces()
        )
        self._connections = Connections(
            self.fan_out,
            _visible_accounts,
            now=time.monotonic,
            flush_seconds=settings.flush_milliseconds / 1000,
            frames_kept=frames_kept,
        )
        entrance = Entrance(
            Admission(Limits(connections_per_address_max=50_000)),
            _authenticate,
            _no_ticket,
            SystemClock(),
            lifetime_seconds=3600,
        )
        event_source = EventSourceRoute(entrance, self._connections, settings)
        websocket = WebSocketRoute(entrance, self._connections, echo, settings)
        self._app = Starlette(
            routes=[Route("/jmap/eventsource", event_source), Route("/jmap/ws", websocket)]
        )

    async def start(self) -> int:
        _keep(self.fan_out.run())
        _keep(self._connections.run())
        return await _serve(self._app, HandoffHttpProtocol)

    def broadcast(self, number: int) -> None:
        del number
        self._tail.position += 1
        self.fan_out.receive(SHARED_ACCOUNT, StoredEvent(self._tail.position, EVENT))

    def tell_each(self) -> None:
        """An event of each client's own account, which nobody else is told of."""
        for number in range(len(self._connections)):
            self._tail.position += 1
            stored = StoredEvent(self._tail.position, EVENT)
            self.fan_out.receive(f"au{number}", stored)

    def pass_on_unwatched(self) -> float:
        """CPU seconds of one event that nobody here listens to, from its bytes on."""
        body, subject = encode_event(EVENT), subject_of("anobody")
        start = time.process_time()
        for sequence in range(UNWATCHED_EVENTS):
            self.fan_out.receive("anobody", stored_event(subject, sequence + 1000, body))
        return (time.process_time() - start) / UNWATCHED_EVENTS


class WholeGateway:
    """Dispatcher and gateway on real servers, which the environment names."""

    def __init__(self) -> None:
        self._opened = AsyncExitStack()
        self.running: RunningEverything

    async def start(self) -> int:
        if "BENCH_REMEMBERS" in os.environ:  # so that PostgreSQL is asked once per client
            authentication.CACHE_SECONDS = authority.CACHE_SECONDS = 3600
        settings = GatewaySettings(connections_per_address_max=50_000, join_seconds_max=60)
        self.running = await self._opened.enter_async_context(
            everything_running(os.environ["BENCH_NATS"], os.environ["BENCH_POSTGRES"], settings)
        )
        return self.running.port

    def broadcast(self, number: int) -> None:
        raise AssertionError(number)

    @property
    def fan_out(self) -> FanOut:
        return self.running.everything.gateway._fan_out

    def forget_recent(self) -> float:
        """So that every cursor is answered from the log."""
        self.fan_out._recent = RecentEvents(1, floor=self.fan_out.position)
        return self.fan_out.position


class _SilentTail:
    position = 100

    async def reached(self, sequence: int) -> None:
        self.position = sequence

    async def follow(self, receive: Callable[[str, StoredEvent], None]) -> None:
        del receive
        await asyncio.Event().wait()


class _NoReader:
    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot:
        raise AssertionError((account_ids, after, fence))


async def _sound_log(*, seen: int, seen_epoch: str | None) -> SoundLog:
    del seen, seen_epoch
    return SoundLog("abcdefghijkl", 1, 100)


async def _visible_accounts(user_id: str) -> frozenset[str]:
    return frozenset((f"a{user_id}", SHARED_ACCOUNT))


async def _authenticate(authorization: str | None) -> Any:
    return credential_of((authorization or "").removeprefix("Bearer "))


async def _no_ticket(ticket: str) -> None:
    raise AssertionError(ticket)


_tasks: set[asyncio.Future[None]] = set()


def _keep(work: Awaitable[None]) -> None:
    _tasks.add(asyncio.ensure_future(work))


async def _serve(app: Starlette, protocol: type[asyncio.Protocol] | None) -> int:
    settings = HttpSettings(port=0)
    listener = listen(settings)
    _keep(serve(app, listener, settings, asyncio.Event(), http_protocol=protocol))
    return int(listener.getsockname()[1])


async def _answer(subject: Subject, line: str) -> float:
    command, _, argument = line.partition(" ")
    if command == "memory":
        gc.collect()
        with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: ASYNC230, PTH123
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if command == "unwatched":
        assert isinstance(subject, Tidings)
        return subject.pass_on_unwatched()
    if command == "cpu":
        return time.process_time()
    if command in ("position", "forget"):
        assert isinstance(subject, WholeGateway)
        return subject.fan_out.position if command == "position" else subject.forget_recent()
    start = time.process_time()
    for number in range(int(argument)):
        if command == "each":
            assert isinstance(subject, Tidings)
            subject.tell_each()
        else:
            subject.broadcast(number)
        await asyncio.sleep(BETWEEN_SECONDS)
    return time.process_time() - start


async def main(kind: str) -> None:
    subjects: dict[str, Callable[[], Subject]] = {
        "floor": lambda: Floor(is_websocket=False),
        "floor_websocket": lambda: Floor(is_websocket=True),
        "starlette": StarletteStreams,
        "tidings": Tidings,
        "tidings_without_frames": lambda: Tidings(frames_kept=0),
        "gateway": WholeGateway,
    }
    subject = subjects[kind]()
    print(await subject.start(), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await _answer(subject, line.strip())), flush=True)
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
