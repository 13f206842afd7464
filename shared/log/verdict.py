"""Is the stream that NATS has the log that PostgreSQL knows?

A store that was lost, recreated, put back to an older copy or cut by a power failure answers like
a sound one; only the epoch and the highest sequence ever seen tell (facts: a stream's creation
time does not).
"""

from typing import Literal, TypeAlias

import msgspec

FIRST_SEQUENCE_GAP = 1_000_000  # above every sequence that a lost stream can have given out

Health: TypeAlias = Literal["sound", "new", "lost", "incomplete", "foreign", "uncompared"]
"""new: neither side has one. incomplete: a rebuild was interrupted. foreign: not of this
database, so not ours to replace without being told to. uncompared: as sound, but the database may
be an older copy (`shared.log.catch_up`)."""


class Verdict(msgspec.Struct, frozen=True):
    health: Health
    reason: str


class Known(msgspec.Struct, frozen=True):
    """What PostgreSQL says.

    `highest_sequence` was acknowledged or read in `epoch`. `is_complete` is false while the states
    of all accounts are being appended anew. `is_compared`: in this run of this database.
    """

    epoch: str
    highest_sequence: int
    is_complete: bool
    is_compared: bool = True


class Found(msgspec.Struct, frozen=True):
    """What NATS says; `epoch` is None for a stream that we did not make."""

    epoch: str | None
    last_sequence: int


def judge(known: Known | None, found: Found | None) -> Verdict:
    if known is None:
        if found is None:
            return Verdict("new", "there is no log yet")
        return Verdict("foreign", "the stream exists, but this database has never seen it")
    loss = _loss(known, found)
    if loss is not None:
        return Verdict("lost", loss)
    if not known.is_complete:
        return Verdict("incomplete", "a rebuild was interrupted")
    if not known.is_compared:
        return Verdict("uncompared", "PostgreSQL was started or restored since they were compared")
    return Verdict("sound", "")


def _loss(known: Known, found: Found | None) -> str | None:
    if found is None:
        return "the stream is gone"
    if found.epoch != known.epoch:
        return f"the stream has epoch {found.epoch}, not {known.epoch}"
    if found.last_sequence < known.highest_sequence:
        return f"the stream ends at {found.last_sequence}, but gave out {known.highest_sequence}"
    return None


def first_sequence(known: Known | None, found: Found | None) -> int:
    """Where a stream made anew starts: above every cursor ever given out."""
    highest = max(
        known.highest_sequence if known else 0,
        found.last_sequence if found else 0,
    )
    return highest + FIRST_SEQUENCE_GAP if highest else 1
