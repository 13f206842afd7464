"""Compares what connections were told with the log; who is behind joins again, and is counted."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Protocol

from services.gateway.channel import PushChannel
from services.gateway.connections import Connections
from shared.log.cursor import decode_cursor
from shared.log.reader import Snapshot

_log = logging.getLogger(__name__)

CHANNELS_AT_ONCE = 100
ACCOUNTS_AT_ONCE = 900  # one read of the log
CATCH_UP_SECONDS = 5.0


class Reader(Protocol):
    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot: ...


class Tail(Protocol):
    @property
    def position(self) -> int: ...
    async def reached(self, sequence: int) -> None: ...


class SelfCheck:
    """A sample at a time; what it reads costs the log one direct get."""

    def __init__(self, connections: Connections, reader: Reader, tail: Tail) -> None:
        self.outcomes: Counter[str] = Counter()  # channels: agrees, differs
        self._connections = connections
        self._reader = reader
        self._tail = tail

    async def check(self) -> None:
        """Raises what the reader raises, and TimeoutError when the tail does not come on."""
        channels, account_ids = self._sample()
        if not account_ids:
            return
        snapshot = await self._reader.read(account_ids, after=0, fence=self._tail.position)
        newest = {account: stored.sequence for account, stored in snapshot.events.items()}
        async with asyncio.timeout(CATCH_UP_SECONDS):
            await self._tail.reached(max(newest.values(), default=0))
        for channel in channels:
            if channel.push.is_over:
                continue
            if _is_behind(channel, newest):
                self.outcomes["differs"] += 1
                _log.warning("connection_behind_log", extra={"cursor": channel.push.cursor})
                self._connections.rejoin_soon(channel)
            else:
                self.outcomes["agrees"] += 1

    def _sample(self) -> tuple[list[PushChannel], set[str]]:
        listening = [channel for channel in self._connections if channel.account_ids]
        channels: list[PushChannel] = []
        account_ids: set[str] = set()
        for channel in random.sample(listening, min(CHANNELS_AT_ONCE, len(listening))):
            wanted = account_ids | channel.account_ids
            if len(wanted) <= ACCOUNTS_AT_ONCE:
                channels.append(channel)
                account_ids = wanted
        return channels, account_ids


def _is_behind(channel: PushChannel, newest: Mapping[str, int]) -> bool:
    """Whether an account of it has an event that it did not receive.

    A sequence of 0 stands for a log that was made anew: what it was told is not told by it.
    """
    cursor = decode_cursor(channel.push.cursor)
    if cursor is None or cursor.sequence == 0:
        return False
    return any(newest.get(account, 0) > cursor.sequence for account in channel.account_ids)
