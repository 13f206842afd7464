"""`tidings events`: what the log says, and what comes (docs/adr/0014)."""

from collections import deque
from collections.abc import Mapping
from typing import Annotated

import asyncpg
import msgspec
import typer

from services.cli.event_lines import (
    EventWriter,
    Progress,
    ReaderGoneError,
)
from services.cli.event_range import (
    Account,
    After,
    Before,
    Methods,
    Principal,
    Since,
    Types,
    Until,
    event_range,
)
from services.cli.on_database import Json, RefusedError, on_database
from services.cli.settings import ServerSettings, servers_in_use, settings_of
from shared.bus.connection import open_bus
from shared.bus.jetstream import JetStream
from shared.log.history import History, open_history, read_log_end
from shared.operate.event_lines import EventLine, event_line
from shared.operate.event_range import EventRange, RangeOptions
from shared.runtime.clock import SystemClock
from shared.runtime.lifetime import CutShortError, cut_short_by, draining_on_signals

_LAST_MAX = 10_000


class _How(msgspec.Struct, frozen=True, kw_only=True):
    follows: bool
    last: int | None
    as_json: bool


def events(  # noqa: PLR0913 - an option each
    context: typer.Context,
    *,
    account: Account = None,
    types: Types = None,
    methods: Methods = None,
    principal: Principal = None,
    since: Since = None,
    until: Until = None,
    after: After = None,
    before: Before = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    last: Annotated[
        int | None, typer.Option(help="Only so many, the newest.", min=1, max=_LAST_MAX)
    ] = None,
    json: Json = False,
) -> None:
    """Show the events of the log: what changed, when, and what made the change.

    The log keeps the last events of each account, TIDINGS_LOG_HISTORY of them (64 unless it was
    set): older ones are gone. All given filters must hold. With --follow and nothing that says
    where to begin, only what comes from now on is shown.
    """
    options = RangeOptions(
        account=account,
        types=types,
        methods=methods,
        principal=principal,
        since=since,
        until=until,
        after=after,
        before=before,
    )
    how = _How(follows=follow, last=last, as_json=json)

    async def work(pool: asyncpg.Pool) -> None:
        if follow and (before or until or last):
            raise RefusedError("--follow has no end: leave out --before, --until and --last.")
        try:
            async with cut_short_by(draining_on_signals()):
                await _show(pool, context.obj, options, how)
        except (CutShortError, ReaderGoneError):
            pass  # each line has the cursor to go on from

    on_database(context, work)


async def _show(
    pool: asyncpg.Pool, environ: Mapping[str, str], options: RangeOptions, how: _How
) -> None:
    nats_url, _ = servers_in_use(settings_of(environ, ServerSettings))
    async with open_bus(nats_url, name="events") as bus:
        end = await read_log_end(JetStream(bus))
        wanted = await event_range(pool, options, end, SystemClock().now())
        place = wanted.place
        if how.follows and not options.after and not options.since:
            place = msgspec.structs.replace(place, after=end.sequence)
        async with open_history(
            bus, place, is_endless=how.follows, wants=wanted.filter.body_test()
        ) as history:
            await _write(history, wanted, how)


async def _write(history: History, wanted: EventRange, how: _How) -> None:
    progress = Progress(SystemClock(), first=wanted.place.after, end=history.end)
    writer = EventWriter(as_json=how.as_json)
    kept = deque[EventLine](maxlen=how.last)
    shown = 0
    passes = wanted.filter.passes
    async for batch in history.batches():
        lines = [
            event_line(history.epoch, account_id, stored)
            for account_id, stored in batch
            if passes(account_id, stored)
        ]
        shown += len(lines)
        if how.last is not None:
            kept.extend(lines)
        elif lines:
            progress.clear()
            writer.write(lines)
        if not how.follows:
            progress.tell(history.position, shown)
    progress.clear()
    writer.write(kept)
