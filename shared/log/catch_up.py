"""What the log has told that PostgreSQL knows nothing of, because it is an older copy of itself.

Every commit comes before its event, so a greater order in the log than in PostgreSQL says that
commits were lost: a backup was restored, or a replica took over that had not all. Changes from then
on would have orders that the log knows already, and would be told to nobody (docs/adr/0023).
"""

import asyncio
import logging

from shared.bus.jetstream import JetStream, StoredMessage
from shared.log.event import Cause, States, all_states
from shared.log.stored import stored_event
from shared.log.subjects import STREAM, account_of
from shared.store.pool import Connection
from shared.store.restored import overtake

_log = logging.getLogger(__name__)

_READS_AT_ONCE = 256
_BATCH = 4096  # sequences; of their accounts the last states are held


async def catch_up(connection: Connection, jetstream: JetStream, *, after: int, up_to: int) -> int:
    """Compare the log between two sequences with PostgreSQL; returns how many accounts differed.

    They are told a state that is newer than all that was told. Read one by one from the stream's
    leader: usually there are a few, of the instant in which PostgreSQL ended. May be repeated.
    Raises BusUnavailableError, JetStreamError.
    """
    accounts = 0
    for first in range(after + 1, up_to + 1, _BATCH):
        told = await _told(jetstream, range(first, min(first + _BATCH, up_to + 1)))
        accounts += await overtake(connection, told, Cause(method="restored"))
    if accounts:
        _log.warning(
            "database_older_than_log", extra={"accounts": accounts, "after": after, "up_to": up_to}
        )
    return accounts


async def _told(jetstream: JetStream, sequences: range) -> dict[str, States]:
    """The last states of each account that has an event there; removed ones are left out."""
    told: dict[str, States] = {}
    for place in range(0, len(sequences), _READS_AT_ONCE):
        for message in await _messages(jetstream, sequences[place : place + _READS_AT_ONCE]):
            account_id = account_of(message.subject)
            if account_id is not None:
                event = stored_event(message.subject, message.sequence, message.body).event
                told[account_id] = all_states(event)
    return told


async def _messages(jetstream: JetStream, sequences: range) -> list[StoredMessage]:
    """In order; what the log keeps no longer is left out."""
    reads = (jetstream.message(STREAM, sequence) for sequence in sequences)
    return [message for message in await asyncio.gather(*reads) if message is not None]
