"""Append by compare-and-set per account, so that no account ever goes back (docs/adr/0002)."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from shared.bus.connection import BusUnavailableError
from shared.bus.jetstream import JetStreamError, RawMessage
from shared.bus.publisher import StaleSequenceError
from shared.log.event import Cause, States, StoredEvent, encode_event, next_event
from shared.log.stored import stored_event
from shared.log.subjects import STREAM, subject_of

_KNOWN_ACCOUNTS_MAX = 10_000
_ATTEMPTS_MAX = 20
_BACKOFF_SECONDS_MAX = 0.25


class LogUnavailableError(Exception):
    """The log cannot be used now; whoever asked may try again."""


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

    async def append(self, account_id: str, states: States, *, at: str, cause: Cause) -> int:
        """Returns the sequence of an event, new or old, from which on `states` are known.

        Repeating it is harmless for ever. Raises LogUnavailableError (it may have been stored)
        and AppendRefusedError.
        """
        previous = self._known.get(account_id) or await self._read(account_id)
        for attempt in range(_ATTEMPTS_MAX):
            event = next_event(previous, states, at=at, cause=cause)
            if event is None:
                assert previous is not None  # noqa: S101 - nothing newer than nothing: `states` is empty
                return previous.sequence
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


def _backoff_seconds(attempt: int) -> float:
    """Full jitter; none on the first miss, which a fresh read almost always cures."""
    return random.uniform(0, min(_BACKOFF_SECONDS_MAX, 0.002 * 2**attempt)) if attempt else 0  # noqa: S311
