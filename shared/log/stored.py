"""A message of the stream as the event that it holds."""

import logging

from shared.jmap.i_json import MSGSPEC_ERRORS
from shared.log.event import Event, StoredEvent, decode_event

_log = logging.getLogger(__name__)


def stored_event(subject: str, sequence: int, body: bytes) -> StoredEvent:
    """A body that is no event counts as one that changed nothing, and as an error in our log.

    It cannot be told to anybody, and must not stop what comes after it.
    """
    try:
        return StoredEvent(sequence, decode_event(body))
    except MSGSPEC_ERRORS:
        _log.exception("event_unreadable", extra={"sequence": sequence, "subject": subject})
        return StoredEvent(sequence, Event(changed={}, unchanged={}, at=""))
