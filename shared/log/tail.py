"""One ordered, gap-free reader of the whole stream, on a raw pull consumer.

nats-py's ordered consumer loses messages silently on a slow client, on a recreated stream and
before its first message (docs/adr/0005). Here any doubt — a gap in the consumer's sequence, an
error status, silence, a lost connection — ends `follow`, and the caller checks the log and starts
a new consumer behind the last event that it was given.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared.bus.connection import Bus
from shared.bus.jetstream import JetStream
from shared.log.event import StoredEvent
from shared.log.stored import stored_event
from shared.log.subjects import STREAM, account_of

_BATCH = 1_000  # events asked for at once
_HEARTBEAT_SECONDS = 1
_SILENCE_SECONDS_MAX = 3.0
_PULL_SECONDS = 30
_CONSUMER_IDLE_SECONDS = 10  # then the server removes the consumer of a dead process

Receive = Callable[[str, StoredEvent], None]
"""Account id and event; called on the loop, in order, once each."""


class TailBrokenError(Exception):
    """The consumer ended or may have missed something: check the log and follow again."""


class Tail:
    """Use a connection of its own; `position` is the sequence up to which all was received."""

    def __init__(self, bus: Bus, jetstream: JetStream) -> None:
        self._bus = bus
        self._jetstream = jetstream
        self._waiting: list[tuple[int, asyncio.Event]] = []
        self.position = 0

    def move_to(self, position: int) -> None:
        self.position = position
        if self._waiting:
            for sequence, reached in self._waiting:
                if position >= sequence:
                    reached.set()

    async def reached(self, sequence: int) -> None:
        """Wait until everything up to `sequence` was received."""
        if self.position >= sequence:
            return
        waiting = (sequence, asyncio.Event())
        self._waiting.append(waiting)
        try:
            await waiting[1].wait()
        finally:
            self._waiting.remove(waiting)

    async def follow(self, receive: Receive) -> None:
        """Deliver all events after `position`, for as long as nothing is in doubt.

        Raises TailBrokenError, BusUnavailableError, JetStreamError.
        """
        reading = _Reading(self, receive)
        self._bus.on_connection_change(reading.break_off)
        name = f"tail-{secrets.token_hex(8)}"
        inbox = self._bus.client.new_inbox()
        subscription = await self._bus.client.subscribe(
            inbox, cb=reading.take, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        try:
            await self._jetstream.create_consumer(STREAM, _consumer(name, self.position + 1))
            while True:
                await self._bus.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{name}", _PULL, reply=inbox
                )
                await reading.until_more_is_wanted()
        finally:
            self._bus.forget_listener(reading.break_off)
            with suppress(NatsError):  # the connection is gone, and the subscription with it
                await subscription.unsubscribe()


class _Reading:
    """The messages of one consumer."""

    def __init__(self, tail: Tail, receive: Receive) -> None:
        self._tail = tail
        self._receive = receive
        self._consumer_sequence = 0
        self._credit = 0
        self._broken: str | None = None
        self._changed = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self._heard_at = self._now()

    async def until_more_is_wanted(self) -> None:
        self._credit += _BATCH
        while self._credit > _BATCH // 2:
            self._changed.clear()
            if self._broken is None:
                try:
                    async with asyncio.timeout(_HEARTBEAT_SECONDS):
                        await self._changed.wait()
                except TimeoutError:
                    if self._now() - self._heard_at > _SILENCE_SECONDS_MAX:
                        self._broken = "silence"
            if self._broken is not None:
                raise TailBrokenError(self._broken)

    def break_off(self) -> None:
        self._break("the connection was lost")

    async def take(self, message: Msg) -> None:
        """nats-py calls it for one message after the other."""
        self._heard_at = self._now()
        if self._broken is not None:
            return
        status = message.headers.get("Status") if message.headers else None
        if status is not None:
            self._take_status(status)
            return
        # $JS.ACK[.<domain>.<account>].<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.…
        tokens = message.reply.split(".")
        sequence, consumer_sequence = int(tokens[-4]), int(tokens[-3])
        if consumer_sequence != self._consumer_sequence + 1:
            self._break(f"gap before {sequence}")
            return
        self._consumer_sequence = consumer_sequence
        account_id = account_of(message.subject)
        if account_id is not None:
            self._receive(account_id, stored_event(message.subject, sequence, message.data))
        self._tail.move_to(sequence)  # only now: what is at or below it was passed on
        self._credit -= 1
        if self._credit <= _BATCH // 2:
            self._changed.set()

    def _take_status(self, status: str) -> None:
        if status == "408":  # this pull expired: ask again
            self._credit = 0
            self._changed.set()
        elif status != "100":  # not a heartbeat: the consumer or the stream is gone
            self._break(f"status {status}")

    def _break(self, reason: str) -> None:
        self._broken = self._broken or reason
        self._changed.set()


_PULL = msgspec.json.encode(
    {
        "batch": _BATCH,
        "expires": _PULL_SECONDS * 1_000_000_000,
        "idle_heartbeat": _HEARTBEAT_SECONDS * 1_000_000_000,
    }
)


def _consumer(name: str, first_sequence: int) -> dict[str, object]:
    """No filter: with one and a start in the middle the server scans while writers wait."""
    return {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": first_sequence,
        "replay_policy": "instant",
        "mem_storage": True,
        "num_replicas": 1,
        "max_deliver": 1,
        "inactive_threshold": _CONSUMER_IDLE_SECONDS * 1_000_000_000,
    }
