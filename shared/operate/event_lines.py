"""An event as operators are shown it; no I/O."""

import msgspec

from shared.log.cursor import Cursor, encode_cursor
from shared.log.event import Cause, StoredEvent


class EventLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is shown of an event."""

    cursor: str  # of who has seen everything up to and with it
    sequence: int
    at: str
    account: str
    changed: dict[str, str]
    cause: Cause
    removed: bool = False  # the account, with this event


def event_line(epoch: str, account_id: str, stored: StoredEvent) -> EventLine:
    return EventLine(
        cursor=encode_cursor(Cursor(epoch, stored.sequence)),
        sequence=stored.sequence,
        at=stored.event.at,
        account=account_id,
        changed={name: state.state for name, state in stored.event.changed.items()},
        cause=stored.event.cause,
        removed=stored.event.is_removal,
    )
