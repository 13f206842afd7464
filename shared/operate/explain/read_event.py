"""What the log, the outbox and the webhooks' consumer say of one event."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg
import msgspec

from shared.bus.connection import BusUnavailableError
from shared.bus.jetstream import JetStream, JetStreamError, StoredMessage
from shared.log.event import Cause, Event, OrderedState
from shared.log.stored import stored_event
from shared.log.subjects import STREAM, account_of, subject_of
from shared.operate.explain.evidence import EventEvidence, LaterEvent, MergingEvidence
from shared.operate.explain.words import ByAccount, ByCursor, BySequence, Reason
from shared.store.people import find_account

_CONSUMER = "webhooks"  # that all deliverers share
_CONSUMER_NOT_FOUND = 10014
_LATER_MAX = 256  # later events of the account that are looked at
_ACCOUNTS_MAX = 100  # that are searched for an event that the log keeps no more
_BEFORE_MAX = 8  # events right before such a one that are asked for their time

_states = msgspec.json.Decoder(dict[str, OrderedState])
_causes = msgspec.json.Decoder(Cause)


class NoEvent(msgspec.Struct, frozen=True):
    """There is nothing to explain, and why."""

    reason: Reason
    headline: str


class EventReader:
    """`jetstream` None: NATS cannot be reached."""

    def __init__(self, pool: asyncpg.Pool, jetstream: JetStream | None) -> None:
        self._pool = pool
        self._maybe_jetstream = jetstream

    @property
    def _jetstream(self) -> JetStream:
        if self._maybe_jetstream is None:
            raise BusUnavailableError("no NATS server answers")
        return self._maybe_jetstream

    async def by_cursor(
        self, wanted: ByCursor | BySequence, accounts: Sequence[str]
    ) -> EventEvidence | NoEvent:
        """`accounts`: where to look for one that the log keeps no more.

        Raises BusUnavailableError.
        """
        info = await self._jetstream.stream_info(STREAM)
        if info is None or info.epoch is None:
            raise BusUnavailableError("there is no log yet")
        sequence = wanted.sequence if isinstance(wanted, BySequence) else wanted.cursor.sequence
        if isinstance(wanted, ByCursor) and wanted.cursor.epoch != info.epoch:
            return _other_log(sequence)
        if sequence > info.state.last_seq:
            return NoEvent(
                Reason.FUTURE_EVENT,
                f"Not known: there is no event {sequence} yet; the log ends with "
                f"{info.state.last_seq}",
            )
        if sequence == 0:
            return NoEvent(Reason.UNKNOWN_EVENT, "Not known: no event has the sequence 0")
        message = await self._jetstream.message(STREAM, sequence)
        if message is None:
            return await self._carried(info.epoch, sequence, accounts)
        return _no_change(message) or await self._event(info.epoch, message)

    async def by_account(self, wanted: ByAccount) -> EventEvidence | NoEvent:
        """Raises UnknownNameError, BusUnavailableError."""
        account_id = await find_account(self._pool, wanted.account)
        waiting = await self._unpublished(account_id, wanted)
        try:
            found = await self._newest(account_id, wanted)
        except BusUnavailableError as error:
            if waiting is None:
                raise
            return msgspec.structs.replace(waiting, problem=f"NATS cannot be reached ({error})")
        if waiting is None:
            return found
        return found if isinstance(found, EventEvidence) and _tells(found, waiting) else waiting

    async def merging(self) -> MergingEvidence:
        """How far all deliverers together have read. Raises BusUnavailableError."""
        try:
            progress = await self._jetstream.consumer_progress(STREAM, _CONSUMER)
        except JetStreamError as error:
            if error.code == _CONSUMER_NOT_FOUND:
                return MergingEvidence(None)
            raise
        waiting = progress.num_pending + progress.num_ack_pending
        if not waiting:  # the floor stays behind marks that it does not get
            return MergingEvidence(progress.delivered.stream_seq)
        return MergingEvidence(progress.ack_floor.stream_seq, waiting)

    async def _newest(self, account_id: str, wanted: ByAccount) -> EventEvidence | NoEvent:
        info = await self._jetstream.stream_info(STREAM)
        if info is None or info.epoch is None:
            raise BusUnavailableError("there is no log yet")
        message = await self._jetstream.newest_message(STREAM, subject_of(account_id))
        if message is None:
            return NoEvent(Reason.UNKNOWN_EVENT, f"Not known: {account_id} has no event in the log")
        sequence = message.sequence
        if wanted.type is not None:
            event = _event_of(message)
            if wanted.type not in event.changed:
                carried = event.unchanged.get(wanted.type)
                if carried is None:
                    return NoEvent(
                        Reason.UNKNOWN_EVENT,
                        f"Not known: {wanted.type} of {account_id} has never changed",
                    )
                sequence = carried.sequence
        return await self._not_before(info.epoch, message, sequence, wanted.since)

    async def _not_before(
        self, epoch: str, newest: StoredMessage, sequence: int, since: datetime | None
    ) -> EventEvidence | NoEvent:
        account_id = account_of(newest.subject) or ""
        message: StoredMessage | None = newest
        if sequence != newest.sequence:
            message = await self._jetstream.message(STREAM, sequence)
        found = (
            await self._carried(epoch, sequence, [account_id])
            if message is None
            else await self._event(epoch, message)
        )
        if isinstance(found, EventEvidence) and since is not None:
            at = found.at
            if at is not None and at < since:
                return NoEvent(
                    Reason.UNKNOWN_EVENT,
                    f"Not known: nothing of the kind changed since then; the newest is {sequence}",
                )
        return found

    async def _event(self, epoch: str, message: StoredMessage) -> EventEvidence:
        account_id = account_of(message.subject) or ""
        event = _event_of(message)
        return EventEvidence(
            epoch=epoch,
            sequence=message.sequence,
            account_id=account_id,
            account_name=await self._name(account_id),
            changed={name: state.state for name, state in event.changed.items()},
            cause=event.cause,
            committed_at=_time_of(event.at),
            appended_at=message.at,
            later=tuple(await self._later(account_id, message.sequence)),
        )

    async def _carried(
        self, epoch: str, sequence: int, accounts: Sequence[str]
    ) -> EventEvidence | NoEvent:
        """What a later event of its account still says of it."""
        for account_id in accounts[:_ACCOUNTS_MAX]:
            message = await self._jetstream.next_message(
                STREAM, subject_of(account_id), sequence=sequence + 1
            )
            if message is None:
                continue
            event = _event_of(message)
            changed = {
                name: carried.state
                for name, carried in event.unchanged.items()
                if carried.sequence == sequence
            }
            if changed:
                first = LaterEvent(message.sequence, _states_of(event))
                later = await self._later(account_id, message.sequence)
                return EventEvidence(
                    epoch=epoch,
                    sequence=sequence,
                    account_id=account_id,
                    account_name=await self._name(account_id),
                    changed=changed,
                    carried_by=message.sequence,
                    not_before=await self._time_before(sequence),
                    not_after=message.at,
                    later=(first, *later),
                )
        return NoEvent(
            Reason.NOT_KEPT,
            f"Not known: the log keeps event {sequence} no more, and later events changed all that "
            "it changed, or it is of an account that this receiver does not see",
        )

    async def _time_before(self, sequence: int) -> datetime | None:
        """When the last thing before it was appended, if the log still has that."""
        for before in range(sequence - 1, max(0, sequence - 1 - _BEFORE_MAX), -1):
            message = await self._jetstream.message(STREAM, before)
            if message is not None:
                return message.at
        return None

    async def _later(self, account_id: str, sequence: int) -> list[LaterEvent]:
        subject, later = subject_of(account_id), list[LaterEvent]()
        while len(later) < _LATER_MAX:
            message = await self._jetstream.next_message(STREAM, subject, sequence=sequence + 1)
            if message is None:
                break
            sequence = message.sequence
            later.append(LaterEvent(sequence, _states_of(_event_of(message))))
        return later

    async def _name(self, account_id: str) -> str | None:
        name: str | None = await self._pool.fetchval(
            "SELECT name FROM accounts WHERE id = $1", account_id
        )
        return name

    async def _unpublished(self, account_id: str, wanted: ByAccount) -> EventEvidence | None:
        row = await self._pool.fetchrow(
            """
            SELECT states, cause, at, name FROM outbox JOIN accounts ON accounts.id = account_id
            WHERE account_id = $1 AND published_at IS NULL AND ($2::text IS NULL OR states ? $2)
            ORDER BY outbox.at DESC LIMIT 1
            """,
            account_id,
            wanted.type,
        )
        if row is None:
            return None
        return EventEvidence(
            epoch="",
            sequence=None,
            account_id=account_id,
            account_name=row["name"],
            changed={name: one.state for name, one in _states.decode(row["states"]).items()},
            cause=_causes.decode(row["cause"]),
            committed_at=row["at"],
        )


def _other_log(sequence: int) -> NoEvent:
    return NoEvent(
        Reason.OTHER_LOG,
        f"Not known: the cursor of event {sequence} is of a log that was made anew since; ask by "
        "account",
    )


def _no_change(message: StoredMessage) -> NoEvent | None:
    account_id = account_of(message.subject)
    if account_id is None:
        return NoEvent(
            Reason.UNKNOWN_EVENT,
            f"Not known: {message.sequence} is a mark of the log's own, and no event",
        )
    if _event_of(message).is_removal:
        return NoEvent(
            Reason.ACCOUNT_REMOVED,
            f"Not known: event {message.sequence} is the end of account {account_id}, which was "
            "removed with all that was known of it",
        )
    return None


def _tells(found: EventEvidence, waiting: EventEvidence) -> bool:
    """Whether it is in the log, but not marked yet, or older than what is asked about."""
    if all(found.changed.get(name) == state for name, state in waiting.changed.items()):
        return True
    return _committed_before(waiting, found)


def _committed_before(one: EventEvidence, other: EventEvidence) -> bool:
    if one.committed_at is None or other.committed_at is None:
        return False
    return one.committed_at < other.committed_at


def _event_of(message: StoredMessage) -> Event:
    return stored_event(message.subject, message.sequence, message.body).event


def _states_of(event: Event) -> Mapping[str, str]:
    return {name: state.state for name, state in event.changed.items()}


def _time_of(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # an event that could not be read
        return None
