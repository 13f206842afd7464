"""The last events of many accounts, no older than a fence (docs/adr/0003)."""

import asyncio
from collections.abc import Collection

import msgspec

from shared.bus.direct_get import SUBJECTS_MAX, DirectGet, LastMessage
from shared.log.event import StoredEvent, changed_since
from shared.log.stored import stored_event
from shared.log.subjects import CLOCK_SUBJECT, account_of, subject_of

_STALE_RETRY_SECONDS = 0.01
_ACCOUNTS_MAX = SUBJECTS_MAX - 1  # the clock is asked for, too


class Snapshot(msgspec.Struct, frozen=True):
    """All that the accounts have up to `up_to`.

    Some events may be newer than that: many accounts need several requests, one after the other,
    and `up_to` is what the least of them has seen.
    """

    events: dict[str, StoredEvent]
    up_to: int

    def changed_since(self, since: int) -> dict[str, dict[str, str]]:
        """Account -> type -> state of what took effect after `since`, and no later than `up_to`.

        What is newer comes with the events after `up_to`, in their order: whoever follows those
        and was told of them before would be taken back by the older ones (docs/adr/0003).
        """
        found = {
            account_id: changed_since(stored, since, self.up_to)
            for account_id, stored in self.events.items()
        }
        return {account_id: changed for account_id, changed in found.items() if changed}


class LogReader:
    """Reads on a connection of its own."""

    def __init__(self, direct_get: DirectGet) -> None:
        self._direct_get = direct_get

    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot:
        """The last event of each account where its sequence is above `after`.

        A replica that has not seen `fence` yet is asked again, so put this under a timeout. An
        `up_to` below `after` means that `after` is from the future or the replica is behind it.
        """
        accounts = list(account_ids)
        events: dict[str, StoredEvent] = {}
        up_tos: list[int] = []
        for start in range(0, max(1, len(accounts)), _ACCOUNTS_MAX):
            subjects = [subject_of(account) for account in accounts[start : start + _ACCOUNTS_MAX]]
            messages, up_to = await self._read_chunk([*subjects, CLOCK_SUBJECT], after, fence)
            up_tos.append(up_to)
            for message in messages:
                account_id = account_of(message.subject)
                if account_id is not None:
                    events[account_id] = stored_event(
                        message.subject, message.sequence, message.body
                    )
        return Snapshot(events, min(up_tos))

    async def _read_chunk(
        self, subjects: list[str], after: int, fence: int
    ) -> tuple[list[LastMessage], int]:
        while True:
            last = await self._direct_get.multi_last(subjects, first_sequence=after + 1)
            if last.up_to >= fence:
                return last.messages, last.up_to
            await asyncio.sleep(_STALE_RETRY_SECONDS)
