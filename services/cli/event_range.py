"""Which part of the log a command is about, as people type it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, TypeAlias

import asyncpg
import typer

from services.cli.on_database import RefusedError
from shared.log.history import LogEnd
from shared.operate.event_range import EventRange, RangeError, RangeOptions
from shared.operate.event_range import event_range as event_range_of
from shared.operate.event_range import moment_of as shared_moment_of

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


async def event_range(
    pool: asyncpg.Pool, options: RangeOptions, end: LogEnd, now: datetime
) -> EventRange:
    """Raises RefusedError, UnknownNameError."""
    with _refusing():
        return await event_range_of(pool, options, end, now, dashes="--")


def moment_of(text: str | None, option: str, now: datetime) -> datetime | None:
    """Raises RefusedError."""
    with _refusing():
        return shared_moment_of(text, option, now)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except RangeError as error:
        raise RefusedError(f"{error}.") from error
