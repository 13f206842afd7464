"""Which part of the log a command is about, as people say it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

import asyncpg
import msgspec
import typer

from services.cli.on_database import RefusedError
from services.cli.times import time_of
from shared.log.cursor import Cursor, decode_cursor
from shared.log.event_filter import EventFilter
from shared.log.history import LogEnd, Range
from shared.runtime.clock import utc_text
from shared.store.people import find_account, names_of_user

# An event is stored after its commit; so much later or earlier by clocks that differ.
_CLOCKS_DIFFER_MAX = timedelta(minutes=5)
_SPAN = re.compile(r"[0-9]+[smhd]", re.ASCII)

Account: TypeAlias = Annotated[
    str | None, typer.Option(help="Of this account only, by id or name.", metavar="ACCOUNT")
]
Types: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--type", help="That changed this type; may be given again.", metavar="TYPE"),
]
Methods: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--method", help="Made by this method, as Email/set; may be given again.", metavar="METHOD"
    ),
]
Principal: TypeAlias = Annotated[
    str | None, typer.Option(help="Made by this user, by id or name.", metavar="USER")
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(help="From then on: 2h ago as 2h, or 2026-01-31T12:00:00Z.", metavar="TIME"),
]
Until: TypeAlias = Annotated[
    str | None, typer.Option(help="Before then, in the same form.", metavar="TIME")
]
After: TypeAlias = Annotated[
    str | None, typer.Option(help="What came after this cursor.", metavar="CURSOR")
]
Before: TypeAlias = Annotated[
    str | None, typer.Option(help="What came before this cursor.", metavar="CURSOR")
]


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
    pool: asyncpg.Pool, options: RangeOptions, end: LogEnd, now: datetime
) -> EventRange:
    """Raises RefusedError, UnknownNameError."""
    account_id = await find_account(pool, options.account) if options.account else None
    principals = await names_of_user(pool, options.principal) if options.principal else None
    since = moment_of(options.since, "--since", now)
    until = moment_of(options.until, "--until", now)
    before = _cursor(options.before, "--before", end)
    after = _cursor(options.after, "--after", end)
    return EventRange(
        Range(
            after=0 if after is None else after.sequence,
            before=None if before is None else before.sequence,
            since=None if since is None else since - _CLOCKS_DIFFER_MAX,
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
    """Of a span before now, or a time in ISO 8601, in UTC where it does not say otherwise."""
    if text is None:
        return None
    try:
        if _SPAN.fullmatch(text):
            return now - time_of(text, option)
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RefusedError(
            f"{option} {text!r} is no time: give 90s, 12h or 30d ago, or 2026-01-31T12:00:00Z."
        ) from error


def _cursor(text: str | None, option: str, end: LogEnd) -> Cursor | None:
    if text is None:
        return None
    cursor = decode_cursor(text)
    if cursor is None:
        raise RefusedError(f"{option} {text!r} is no cursor.")
    if cursor.epoch != end.epoch:
        raise RefusedError(
            f"{option} {text} is a cursor of a log that was made anew since: leave {option} out."
        )
    if cursor.sequence > end.sequence:
        raise RefusedError(f"{option} {text} is a cursor that the log has not reached.")
    return cursor
