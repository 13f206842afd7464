"""One ordered, gap-free reader of the stream, or of one account, on a raw pull consumer.

A gap in the consumer's sequence, as any doubt about the pull, ends `follow`, and the caller checks
the log and starts a new consumer behind the last event that it was given.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

import msgspec
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared.bus.connection import Bus
from shared.bus.jetstream import JetStream
from shared.log.event import StoredEvent
from shared.log.pull import Pull
from shared.log.stored import stored_event
from shared.log.subjects import STREAM, account_of, subject_of
from shared.runtime.clock import utc_text

_BATCH = 1_000  # events asked for at once
_CONSUMER_IDLE_SECONDS = 10  # then the server removes the consumer of a dead process

Receive = Callable[[str, StoredEvent], None]
"""Account id and event; called on the loop, in order, once each."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What of the log is wanted: all, where nothing is said."""

    account_id: str | None = None
    since: datetime | None = None  # when it was stored
    wants: Callable[[bytes], bool] | None = None  # of a body; the others are not passed on


class Tail:
    """Use a connection of its own; `position` is the sequence up to which all was received.

    For who reads at leisure: nothing more is asked for until `room` returns. `batch`: events asked
    for at once.
    """

    def __init__(
        self,
        bus: Bus,
        jetstream: JetStream,
        *,
        part: Part | None = None,
        room: Callable[[], Awaitable[None]] | None = None,
        batch: int = _BATCH,
    ) -> None:
        self._bus = bus
        self._jetstream = jetstream
        self._part = part or Part()
        self._room = room
        self._batch = batch
        self._reading: _Reading | None = None
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
        reading = _Reading(self, receive, self._batch, self._part.wants)
        self._bus.on_connection_change(reading.pull.lose_connection)
        inbox = self._bus.client.new_inbox()
        subscription = await self._bus.client.subscribe(
            inbox, cb=reading.take, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        try:
            await self._jetstream.create_consumer(STREAM, self._consumer(reading.name))
            self._reading = reading
            while True:
                if self._room is not None:
                    await self._room()
                await self._bus.publish(
                    f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{reading.name}",
                    reading.pull.next_request(),
                    reply=inbox,
                )
                while not reading.pull.wants_more:
                    await reading.pull.wait()
        finally:
            self._reading = None
            self._bus.forget_listener(reading.pull.lose_connection)
            with suppress(NatsError):  # the connection is gone, and the subscription with it
                await subscription.unsubscribe()

    async def is_at_end(self) -> bool:
        """Whether `follow` has received all there is.

        Raises BusUnavailableError, JetStreamError.
        """
        reading = self._reading
        if reading is None:
            return False
        progress = await self._jetstream.consumer_progress(STREAM, reading.name)
        return progress.is_complete(reading.received)

    def _consumer(self, name: str) -> dict[str, object]:
        """No filter for the services' own: with one and a start in the middle the server may scan.

        Who asks for one account reads less than it would read without.
        """
        config = _consumer(name, self.position + 1)
        if self._part.account_id is not None:
            config["filter_subject"] = subject_of(self._part.account_id)
        if self._part.since is not None and self.position == 0:
            del config["opt_start_seq"]
            config |= {
                "deliver_policy": "by_start_time",
                "opt_start_time": utc_text(self._part.since),
            }
        return config


class _Reading:
    """The messages of one consumer."""

    def __init__(
        self,
        tail: Tail,
        receive: Receive,
        batch: int,
        wants: Callable[[bytes], bool] | None,
    ) -> None:
        self.name = f"tail-{secrets.token_hex(8)}"
        self.received = 0  # by the consumer's own count
        self._tail = tail
        self._receive = receive
        self._wants = wants
        self.pull = Pull(batch)

    async def take(self, message: Msg) -> None:
        """nats-py calls it for one message after the other."""
        if not self.pull.heard(message) or self.pull.is_broken:
            return
        # $JS.ACK[.<domain>.<account>].<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.…
        tokens = message.reply.split(".")
        sequence, consumer_sequence = int(tokens[-4]), int(tokens[-3])
        if consumer_sequence != self.received + 1:
            self.pull.break_off(f"gap before {sequence}")
            return
        self.received = consumer_sequence
        if self._wants is None or self._wants(message.data):
            account_id = account_of(message.subject)
            if account_id is not None:
                self._receive(account_id, stored_event(message.subject, sequence, message.data))
        self._tail.move_to(sequence)  # only now: what is at or below it was passed on
        self.pull.credit -= 1
        if self.pull.wants_more:
            self.pull.wake()


def _consumer(name: str, first_sequence: int) -> dict[str, object]:
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
