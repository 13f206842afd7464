"""Which part of the log an operator means, in the words that people use."""

import re
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from shared.log.cursor import Cursor, decode_cursor
from shared.log.event_filter import EventFilter
from shared.log.history import LogEnd, Range
from shared.operate.times import NoTimeError, time_of
from shared.runtime.clock import utc_text
from shared.store.people import find_account, names_of_user

CLOCKS_DIFFER_MAX = timedelta(minutes=5)
"""An event is stored after its commit; so much later or earlier by clocks that differ."""

_OLDEST = datetime(1970, 1, 2, tzinfo=UTC)
_SPAN = re.compile(r"[0-9]+[smhd]", re.ASCII)


class RangeError(ValueError):
    """What was asked for is no part of the log; says which option it is, and why."""


class RangeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """As they were typed."""

    account: str | None = None
    types: list[str] | None = None
    methods: list[str] | None = None
    principal: str | None = None
    since: str | None = None
    until: str | None = None
    after: str | None = None
    before: str | None = None


class EventRange(msgspec.Struct, frozen=True):
    place: Range
    filter: EventFilter


async def event_range(
    pool: asyncpg.Pool, options: RangeOptions, end: LogEnd, now: datetime, *, dashes: str = ""
) -> EventRange:
    """`dashes` are what options begin with, for errors. Raises RangeError, UnknownNameError."""
    account_id = await find_account(pool, options.account) if options.account else None
    principals = await names_of_user(pool, options.principal) if options.principal else None
    since = moment_of(options.since, f"{dashes}since", now)
    until = moment_of(options.until, f"{dashes}until", now)
    before = _cursor(options.before, f"{dashes}before", end)
    after = _cursor(options.after, f"{dashes}after", end)
    return EventRange(
        Range(
            after=0 if after is None else after.sequence,
            before=None if before is None else before.sequence,
            since=None if since is None else max(since, _OLDEST) - CLOCKS_DIFFER_MAX,
            account_id=account_id,
        ),
        EventFilter(
            account_ids=None,  # the log's consumer asks for the account alone
            types=_set(options.types),
            methods=_set(options.methods),
            principals=principals,
            since=None if since is None else utc_text(since),
            until=None if until is None else utc_text(until),
        ),
    )


def _set(given: list[str] | None) -> frozenset[str] | None:
    return frozenset(given) if given else None


def moment_of(text: str | None, option: str, now: datetime) -> datetime | None:
    """Of a span before now, or a time in ISO 8601, in UTC where it does not say otherwise.

    Raises RangeError.
    """
    if text is None:
        return None
    try:
        if _SPAN.fullmatch(text):
            return now - time_of(text, option)
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (NoTimeError, ValueError, OverflowError) as error:
        raise RangeError(
            f"{option} {text!r} is no time: give 90s, 12h or 30d ago, or 2026-01-31T12:00:00Z"
        ) from error


def _cursor(text: str | None, option: str, end: LogEnd) -> Cursor | None:
    if text is None:
        return None
    cursor = decode_cursor(text)
    if cursor is None:
        raise RangeError(f"{option} {text!r} is no cursor")
    if cursor.epoch != end.epoch:
        raise RangeError(
            f"{option} {text} is a cursor of a log that was made anew since: leave {option} out"
        )
    if cursor.sequence > end.sequence:
        raise RangeError(f"{option} {text} is a cursor that the log has not reached")
    return cursor
