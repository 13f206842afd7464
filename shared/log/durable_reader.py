"""A durable pull consumer that any number of processes read together, each message by one of them.

What was read and not acknowledged comes again, to whoever reads then; so each message is passed on
at least once, in about the order of the log. Any doubt ends `read`, as it does `Tail.follow`.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from shared.bus.connection import Bus
from shared.bus.jetstream import JetStream
from shared.log.event import StoredEvent
from shared.log.pull import Pull, TailBrokenError
from shared.log.stored import stored_event
from shared.log.subjects import STREAM, account_of

_BATCH = 500  # messages asked for at once
_ACK_SECONDS = 5  # then an unacknowledged message goes to another reader
_UNACKNOWLEDGED_MAX = 5_000  # of all readers together

Take = Callable[[Sequence[tuple[str, StoredEvent]]], Awaitable[None]]
"""(account id, event) of each; they are acknowledged when it returns."""


class DurableReader:
    """Use a connection of its own. The consumer is `name`; `prepare` is awaited before it is made.

    `prepare` gets the sequence after which the new consumer starts: whoever kept no position of
    its own makes up there for what the lost one may have missed.
    """

    def __init__(
        self, bus: Bus, jetstream: JetStream, name: str, prepare: Callable[[int], Awaitable[None]]
    ) -> None:
        self._bus = bus
        self._jetstream = jetstream
        self._name = name
        self._prepare = prepare

    async def read(self, take: Take) -> None:
        """Pass on what comes, for as long as nothing is in doubt.

        Raises TailBrokenError, BusUnavailableError, JetStreamError, and what `take` raises.
        """
        await self._ensure_consumer()
        reading = _Reading()
        self._bus.on_connection_change(reading.pull.lose_connection)
        inbox = self._bus.client.new_inbox()
        subscription = await self._bus.client.subscribe(inbox, cb=reading.receive)
        try:
            while True:
                if reading.pull.wants_more:
                    subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{self._name}"
                    await self._bus.publish(subject, reading.pull.next_request(), reply=inbox)
                await self._pass_on(await reading.messages(), take)
        finally:
            self._bus.forget_listener(reading.pull.lose_connection)
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _pass_on(self, messages: Sequence[Msg], take: Take) -> None:
        events = [
            (account_id, stored_event(message.subject, _sequence(message), message.data))
            for message in messages
            if (account_id := account_of(message.subject)) is not None
        ]
        if events:
            await take(events)
        for message in messages:
            await self._bus.publish(message.reply, b"+ACK")

    async def _ensure_consumer(self) -> None:
        if await self._jetstream.has_consumer(STREAM, self._name):
            return
        info = await self._jetstream.stream_info(STREAM)
        if info is None:
            raise TailBrokenError("there is no stream")
        await self._prepare(info.state.last_seq)
        await self._jetstream.create_consumer(
            STREAM, _consumer(self._name, info.state.last_seq + 1)
        )


class _Reading:
    def __init__(self) -> None:
        self.pull = Pull(_BATCH)
        self._messages: list[Msg] = []

    async def messages(self) -> list[Msg]:
        """What has come since the last call; empty when more must be asked for."""
        while not self._messages and not self.pull.wants_more:
            await self.pull.wait()
        messages, self._messages = self._messages, []
        return messages

    async def receive(self, message: Msg) -> None:
        """nats-py calls it for one message after the other."""
        if self.pull.heard(message):
            self.pull.credit -= 1
            self._messages.append(message)
            self.pull.wake()


def _sequence(message: Msg) -> int:
    # $JS.ACK[.<domain>.<account>].<stream>.<consumer>.<tries>.<stream seq>.<consumer seq>.…
    return int(message.reply.split(".")[-4])


def _consumer(name: str, first_sequence: int) -> dict[str, object]:
    return {
        "name": name,
        "durable_name": name,
        "ack_policy": "explicit",
        "ack_wait": _ACK_SECONDS * 1_000_000_000,
        "max_ack_pending": _UNACKNOWLEDGED_MAX,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": first_sequence,
        "replay_policy": "instant",
    }
