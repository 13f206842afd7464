"""Connections to endpoints, with the bounds that aiohttp leaves open.

An endpoint cannot make us read without an end before it answers (interim answers alone would take
all of the loop's time), and no connection is kept for long, nor too many of them.
"""

import asyncio
import functools
from collections.abc import Callable

import aiohttp
from aiohttp.client_proto import ResponseHandler

# A head that we would read has at most 64 lines of 4 KiB; and a start of a body comes with it.
ANSWER_OCTETS_MAX = 256 * 1024
HEADERS_MAX = 64
HEADER_OCTETS_MAX = 4096


class KeptConnections:
    """Says which connections are good for another request after this one."""

    def __init__(
        self,
        *,
        age_seconds_max: float,
        idle_seconds_max: float,
        count_max: int,
        monotonic: Callable[[], float],
    ) -> None:
        self.idle_seconds_max = min(idle_seconds_max, age_seconds_max)
        # One that is kept may be idle for so long before it is used again.
        self._age_seconds_max = age_seconds_max - self.idle_seconds_max
        self._count_max = count_max
        self.monotonic = monotonic
        self.connections = set[ResponseHandler]()

    def keep(self, connection: ResponseHandler, opened_at: float) -> bool:
        """Asked when a request begins."""
        self.connections.add(connection)
        age = self.monotonic() - opened_at
        if len(self.connections) <= self._count_max and age <= self._age_seconds_max:
            return True
        self.connections.discard(connection)
        return False


class BoundedHandler(ResponseHandler):
    """One connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kept: KeptConnections) -> None:
        super().__init__(loop)
        self._kept = kept
        self._opened_at = kept.monotonic()
        self._octets_left = ANSWER_OCTETS_MAX

    def connection_lost(self, exc: BaseException | None) -> None:
        self._kept.connections.discard(self)
        super().connection_lost(exc)

    def set_response_params(self, **params: object) -> None:
        """Once a request."""
        self._octets_left = ANSWER_OCTETS_MAX
        if not self._kept.keep(self, self._opened_at):
            self.force_close()
        super().set_response_params(**params)  # type: ignore[arg-type]

    def is_connected(self) -> bool:
        """Asked before it is used again: an answer that came unasked would be the next one's."""
        return not len(self) and super().is_connected()

    def data_received(self, data: bytes) -> None:
        left = self._octets_left
        self._octets_left -= len(data)
        if self._octets_left >= 0:
            super().data_received(data)
        elif left >= 0:
            super().data_received(data[:left])
            if self.transport is not None:
                self.transport.abort()


class Connector(aiohttp.TCPConnector):
    """aiohttp's, with handlers of ours."""

    def __init__(self, kept: KeptConnections, **options: object) -> None:
        super().__init__(
            limit=0,  # who posts holds one of the slots
            keepalive_timeout=kept.idle_seconds_max,
            **options,  # type: ignore[arg-type]
        )
        self._factory = functools.partial(  # type: ignore[assignment]
            BoundedHandler, loop=self._loop, kept=kept
        )
