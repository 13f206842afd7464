"""The bookkeeping of a raw pull consumer: how much was asked for, and whether all is well.

nats-py's ordered consumer loses messages silently on a slow client, on a recreated stream and
before its first message (docs/adr/0005). Here any doubt — an error status, silence, a lost
connection — breaks the pull, and its reader begins anew behind the last event that it passed on.
"""

import asyncio
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg

_HEARTBEAT_SECONDS = 1
_SILENCE_SECONDS_MAX = 3.0
_PULL_SECONDS = 30


class TailBrokenError(Exception):
    """The consumer ended or may have missed something: check the log and follow again."""


class Pull:
    """Give `heard` each message; `wait` for more while `credit` is enough."""

    def __init__(self, batch: int) -> None:
        self.credit = 0  # messages that the server may still send
        self._batch = batch
        self._broken: str | None = None
        self._changed = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._heard_at = self._now()
        self._request = msgspec.json.encode(
            {
                "batch": batch,
                "expires": _PULL_SECONDS * 1_000_000_000,
                "idle_heartbeat": _HEARTBEAT_SECONDS * 1_000_000_000,
            }
        )

    @property
    def is_broken(self) -> bool:
        return self._broken is not None

    @property
    def wants_more(self) -> bool:
        return self.credit <= self._batch // 2

    def next_request(self) -> bytes:
        """The body of CONSUMER.MSG.NEXT, to be published now."""
        self.credit += self._batch
        return self._request

    def heard(self, message: Msg) -> bool:
        """False for what is a status and no message."""
        self._heard_at = self._now()
        status = message.headers.get("Status") if message.headers else None
        if status == "408":  # this pull expired: ask again
            self.credit = 0
            self.wake()
        elif status not in (None, "100"):  # no heartbeat either: consumer or stream is gone
            self.break_off(f"status {status}")
        return status is None

    def lose_connection(self) -> None:
        self.break_off("the connection was lost")

    def break_off(self, reason: str) -> None:
        self._broken = self._broken or reason
        self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    async def wait(self) -> None:
        """Until `wake`, or about a second. Raises TailBrokenError."""
        self._changed.clear()
        if self._broken is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT_SECONDS):
                    await self._changed.wait()
            if self._now() - self._heard_at > _SILENCE_SECONDS_MAX:
                self.break_off("silence")
        if self._broken is not None:
            raise TailBrokenError(self._broken)
