"""Append by compare-and-set per account, so that no account ever goes back (docs/adr/0002)."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from shared.bus.connection import BusUnavailableError
from shared.bus.jetstream import JetStreamError, RawMessage
from shared.bus.publisher import StaleSequenceError
from shared.log.event import (
    Cause,
    Event,
    States,
    StoredEvent,
    encode_event,
    next_event,
    removal_event,
)
from shared.log.stored import stored_event
from shared.log.subjects import STREAM, subject_of

_KNOWN_ACCOUNTS_MAX = 10_000
_ATTEMPTS_MAX = 20
_BACKOFF_SECONDS_MAX = 0.25


class LogUnavailableError(Exception):
    """The log cannot be used now; whoever asked may try again."""


Exists: TypeAlias = Callable[[str], Awaitable[bool]]
"""Whether there is an account of this id. Raises LogUnavailableError."""


class AppendsToStream(Protocol):
    """shared.bus.publisher.Publisher."""

    async def append(self, subject: str, body: bytes, *, last_sequence: int) -> int: ...


class ReadsFromLeader(Protocol):
    """shared.bus.jetstream.JetStream."""

    async def last_message(self, stream: str, subject: str) -> RawMessage | None: ...


class Appender:
    """Appends events of any number of accounts at once; `is_sound` guards each publish."""

    def __init__(
        self,
        publisher: AppendsToStream,
        jetstream: ReadsFromLeader,
        is_sound: Callable[[], bool],
    ) -> None:
        self._publisher = publisher
        self._jetstream = jetstream
        self._is_sound = is_sound
        self._known: OrderedDict[str, StoredEvent] = OrderedDict()

    def forget(self) -> None:
        """Read each account's last event again; call it when the log may be another one."""
        self._known.clear()

    async def append(
        self,
        account_id: str,
        states: States,
        *,
        at: str,
        cause: Cause,
        exists: Exists | None = None,
    ) -> int:
        """Returns the sequence of an event, new or old, from which on `states` are known.

        `exists` is asked before the first event of an account, which may be one that was removed,
        and of which nothing is left: nobody is to hear of it, and the answer is 0.

        Repeating it is harmless for ever. Raises LogUnavailableError (it may have been stored)
        and AppendRefusedError.
        """

        async def next_one(previous: StoredEvent | None) -> Event | None:
            if previous is None and exists is not None and not await exists(account_id):
                return None
            return next_event(previous, states, at=at, cause=cause)

        return await self._publish(account_id, next_one)

    async def end(self, account_id: str, *, at: str, cause: Cause) -> int:
        """Returns the sequence of the account's tombstone, after which none of its events come.

        Raises as `append`.
        """

        async def tombstone(previous: StoredEvent | None) -> Event | None:
            return removal_event(previous, at=at, cause=cause)

        return await self._publish(account_id, tombstone)

    async def _publish(self, account_id: str, next_one: "_NextOne") -> int:
        """None of `next_one`: nothing is to be said after that event."""
        previous = self._known.get(account_id) or await self._read(account_id)
        for attempt in range(_ATTEMPTS_MAX):
            event = await next_one(previous)
            if event is None:
                return previous.sequence if previous is not None else 0
            if not self._is_sound():
                raise LogUnavailableError("the log is being checked")
            try:
                sequence = await self._publisher.append(
                    subject_of(account_id),
                    encode_event(event),
                    last_sequence=previous.sequence if previous else 0,
                )
            except StaleSequenceError:
                # Another appender was faster, or our own first try was stored without an answer.
                await asyncio.sleep(_backoff_seconds(attempt))
                previous = await self._read(account_id)
            except BusUnavailableError as error:
                self._known.pop(account_id, None)
                raise LogUnavailableError(str(error)) from error
            else:
                self._remember(account_id, StoredEvent(sequence, event))
                return sequence
        raise LogUnavailableError(f"lost the race for {account_id} {_ATTEMPTS_MAX} times")

    async def _read(self, account_id: str) -> StoredEvent | None:
        """From the stream's leader: a replica may not have what was just acknowledged."""
        subject = subject_of(account_id)
        try:
            message = await self._jetstream.last_message(STREAM, subject)
        except (BusUnavailableError, JetStreamError) as error:  # also: the stream is gone
            raise LogUnavailableError(str(error)) from error
        return stored_event(subject, message.sequence, message.body) if message else None

    def _remember(self, account_id: str, stored: StoredEvent) -> None:
        self._known[account_id] = stored
        self._known.move_to_end(account_id)
        if len(self._known) > _KNOWN_ACCOUNTS_MAX:
            self._known.popitem(last=False)


_NextOne: TypeAlias = Callable[[StoredEvent | None], Awaitable[Event | None]]


def _backoff_seconds(attempt: int) -> float:
    """Full jitter; none on the first miss, which a fresh read almost always cures."""
    return random.uniform(0, min(_BACKOFF_SECONDS_MAX, 0.002 * 2**attempt)) if attempt else 0  # noqa: S311
