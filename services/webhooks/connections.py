"""Connections to endpoints: one request at a time on each, bounded in time, in octets, in number.

An endpoint cannot make us read without an end, and no connection is kept for long, nor too many.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from services.webhooks.failures import PostFailedError, no_answer, no_answer_in_time, not_http
from services.webhooks.http1 import AnswerReader, NotHttpError

BODY_SECONDS_MAX = 1.0  # for the body once the status is known, which has decided
_SWEEPS = 4  # of idle connections, in the time that one may be idle

# Scheme, host, port.
Origin: TypeAlias = tuple[str, str, int]


class Connection(asyncio.Protocol):
    """`ask` it once its transport is made; who asked aborts it, or asks it again later."""

    __slots__ = ("_kept", "_loop", "_reader", "_timer", "_transport", "_waiting", "opened_at")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, kept: "KeptConnections", opened_at: float
    ) -> None:
        self.opened_at = opened_at
        self._loop = loop
        self._kept = kept
        self._reader = AnswerReader()
        self._transport: Any = None
        self._waiting: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_good(self) -> bool:
        """For another request: the answer to the last one has ended, and nothing is left to send.

        Under TLS, nothing that is not encrypted yet; what is encrypted goes out first anyway.
        """
        return not (
            self._reader.is_last
            or self._transport.is_closing()
            or self._transport.get_write_buffer_size()
        )

    async def ask(self, octets: bytes, ends_at: float) -> AnswerReader:
        """The answer, until the next request; `ends_at`: of the loop's time.

        Raises PostFailedError. Then, and when it is cancelled, the connection is gone.
        """
        self._reader.begin()
        waiting = self._waiting = self._loop.create_future()
        self._timer = self._loop.call_at(ends_at, self._give_up)
        try:
            self._transport.write(octets)
            await waiting
        except BaseException:
            self.abort()
            raise
        finally:
            self._timer.cancel()
            self._waiting = None
        return self._reader

    def abort(self) -> None:
        """At once: a farewell would wait for a peer that may never take it."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._kept.opened(self)

    def data_received(self, data: bytes) -> None:
        waiting, reader = self._waiting, self._reader
        if (
            waiting is None or waiting.done()
        ):  # nothing was asked: it would be the next one's answer
            self.abort()
            return
        was_known = reader.status
        try:
            reader.feed(data)
        except NotHttpError:
            waiting.set_exception(not_http())
            return
        if reader.is_complete:
            waiting.set_result(None)
        elif reader.status and not was_known:
            self._hurry()

    def eof_received(self) -> None:
        """And close it: half a connection is none."""

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._kept.lost(self)
        self._end(no_answer())

    def _hurry(self) -> None:
        """A body that does not come is not waited for."""
        timer = self._timer
        soon = self._loop.time() + BODY_SECONDS_MAX
        if timer is not None and soon < timer.when():
            timer.cancel()
            self._timer = self._loop.call_at(soon, self._give_up)

    def _give_up(self) -> None:
        self._end(no_answer_in_time())

    def _end(self, failure: PostFailedError) -> None:
        """With the answer, if its status has come."""
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        try:
            self._reader.feed_eof()
        except NotHttpError:
            waiting.set_exception(failure)
        else:
            waiting.set_result(None)


class KeptConnections:
    """Which connections are good for another request, and those that wait for one."""

    def __init__(
        self,
        *,
        age_seconds_max: float,
        idle_seconds_max: float,
        count_max: int,
        monotonic: Callable[[], float],
    ) -> None:
        """`monotonic`: what ages are counted in; idleness is counted in the loop's time."""
        self._idle_seconds_max = min(idle_seconds_max, age_seconds_max)
        # One that is kept may be idle for so long before it is used again.
        self._age_seconds_max = age_seconds_max - self._idle_seconds_max
        self._count_max = count_max
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Origin, deque[tuple[float, Connection]]] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._all = set[Connection]()
        self.kept = set[Connection]()  # idle, or busy with a request that is not their last

    def new_connection(self) -> Connection:
        return Connection(self._loop, self, self._monotonic())

    def opened(self, connection: Connection) -> None:
        self._all.add(connection)

    def lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        self.kept.discard(connection)

    def keep(self, connection: Connection) -> bool:
        """Asked when a request begins: False: it is the connection's last."""
        self.kept.add(connection)
        age = self._monotonic() - connection.opened_at
        if len(self.kept) <= self._count_max and age <= self._age_seconds_max:
            return True
        self.kept.discard(connection)
        return False

    def take(self, origin: Origin) -> Connection | None:
        """The one that was used last, which is the least likely to have ended meanwhile."""
        idle = self._idle.get(origin)
        while idle:
            _, connection = idle.pop()
            if connection.is_good:
                return connection
            connection.abort()
        return None

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """After a request that was not its last."""
        if not connection.is_good:
            self.kept.discard(connection)
            connection.abort()
            return
        idle = self._idle.get(origin)
        if idle is None:
            idle = self._idle[origin] = deque()
        idle.append((self._loop.time(), connection))
        if self._sweeping is None:
            self._sweep_later()

    def close(self) -> None:
        """All of them, idle or not."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in list(self._all):
            connection.abort()
        self._idle.clear()

    def _sweep_later(self) -> None:
        self._sweeping = self._loop.call_later(self._idle_seconds_max / _SWEEPS, self._sweep)

    def _sweep(self) -> None:
        """Close what has waited for too long, at most a quarter later; forget what has ended."""
        earliest = self._loop.time() - self._idle_seconds_max
        for origin, idle in list(self._idle.items()):
            while idle and (idle[0][0] <= earliest or not idle[0][1].is_good):
                idle.popleft()[1].abort()
            if not idle:
                del self._idle[origin]
        self._sweeping = None
        if self._idle:
            self._sweep_later()
