"""Sends what happens on watched connections to the operators who watch."""

import asyncio
import logging

from services.gateway.connections import Connections
from services.gateway.facts import Wall, moment_of
from services.gateway.watches import Watch
from shared.bus.connection import Bus, BusUnavailableError
from shared.operate.connections import (
    WATCHED_AT_ONCE_MAX,
    WatchConnections,
    Watched,
    WatchedMoment,
    encode_answer,
)
from shared.runtime.clock import Clock

_log = logging.getLogger(__name__)

WATCH_SECONDS = 0.1  # from one message to an operator to the next


class Watching:
    """`run` it in the process's task group."""

    def __init__(self, bus: Bus, connections: Connections, clock: Clock) -> None:
        self._bus = bus
        self._connections = connections
        self._watches = connections.watches
        self._clock = clock
        self._is_watched = asyncio.Event()

    def renew(self, asked: WatchConnections, inbox: str) -> Watch:
        """Raises TooManyWatchesError; else the caller says which connections are meant."""
        watch = self._watches.renew(asked, inbox, self._connections.now())
        self._is_watched.set()
        return watch

    async def run(self) -> None:
        """Until cancelled; idle while nobody watches."""
        self._bus.on_connection_change(self._doubt)
        try:
            while True:
                await self._is_watched.wait()
                await asyncio.sleep(WATCH_SECONDS)
                for watch in self._watches.end_old(self._connections.now()):
                    _log.info("watch_ended", extra={"by": watch.by})
                for watch in self._watches:
                    if watch.has_news and watch.is_confirmed:
                        await self._send(watch)
                if not self._watches:
                    self._is_watched.clear()
        finally:
            self._bus.forget_listener(self._doubt)

    def news(self, watch: Watch) -> Watched:
        """What happened since it was last asked for this."""
        wall = Wall(self._connections.now(), self._clock.now())
        watch.number += 1
        return Watched(
            gateway=self._connections.gateway_id,
            number=watch.number,
            connections=watch.connections,
            dropped=watch.take_dropped(),
            moments=tuple(
                WatchedMoment(
                    connection=self._connections.id_of(record),
                    user=record.holder.user_id,
                    user_name=record.holder.user_name,
                    transport=record.kind,
                    moment=moment_of(entry, wall),
                )
                for record, entry in watch.take(WATCHED_AT_ONCE_MAX)
            ),
        )

    async def _send(self, watch: Watch) -> None:
        """What is lost on the way is a hole in the numbers, which the operator sees."""
        try:
            await self._bus.publish(watch.inbox, encode_answer(self.news(watch)))
        except BusUnavailableError as error:
            _log.info("answer_not_sent", extra={"error": repr(error)})

    def _doubt(self) -> None:
        """A new connection to NATS may answer nobody yet (nats/access.conf, allow_responses)."""
        for watch in self._watches:
            watch.is_confirmed = False
