"""`tidings replay`: what the log says, sent again (docs/adr/0014)."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Annotated, TypeAlias

import asyncpg
import msgspec
import typer

from services.cli.event_lines import ReaderGoneError, json_line, write_out
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
from services.cli.on_database import RefusedError, on_database
from services.cli.replay_listener import PATH, Offer, ReplayListener
from services.cli.replay_to_subscription import open_subscription_target
from services.cli.settings import ServerSettings, servers_in_use, settings_of
from services.webhooks.signing_keys import SigningKeyGoneError
from shared.bus.connection import BusUnavailableError, open_bus
from shared.bus.jetstream import JetStream
from shared.http.authentication import Authenticator
from shared.http.issuer import JwtSettings, issuer_of
from shared.log.cursor import Cursor
from shared.log.history import open_history, read_log_end
from shared.operate.event_lines import EventLine
from shared.operate.event_range import EventRange, RangeOptions
from shared.operate.pace import Pace, speed_of
from shared.operate.replaying import (
    Nowhere,
    ReplayRefusedError,
    ReplayStoppedError,
    Target,
    replay_range,
    report_from,
)
from shared.runtime.clock import SystemClock
from shared.runtime.lifetime import CutShortError, cut_short_by, draining_on_signals
from shared.runtime.serve import HttpSettings, listen, serve, url_of
from shared.store.pool import POSTGRES_ERRORS

Speed: TypeAlias = Annotated[
    str, typer.Option(help="full, original, or a number: 10 is ten times as fast.")
]
Subscription: TypeAlias = Annotated[
    str | None, typer.Option(help="Send it to this push subscription.", metavar="ID")
]
Port: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--listen",
        help="Serve it as an event source on this port of 127.0.0.1, 0 for any.",
        min=0,
        max=65535,
        metavar="PORT",
    ),
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")]
Really: TypeAlias = Annotated[
    bool, typer.Option("--really", help="Also to an endpoint of somebody else.")
]

Lines: TypeAlias = Annotated[
    bool, typer.Option("--json", help="JSON lines, which it always prints.", show_default=False)
]


class _How(msgspec.Struct, frozen=True, kw_only=True):
    speed: str
    subscription: str | None
    port: int | None
    is_dry: bool
    may_leave: bool


def replay(  # noqa: PLR0913 - an option each
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
    speed: Speed = "full",
    subscription: Subscription = None,
    listen_on: Port = None,
    dry_run: DryRun = False,
    really: Really = False,
    json: Lines = True,  # noqa: ARG001 - as everywhere; there is no other form
) -> None:
    """Send a part of the log again: as JSON lines, to a webhook, or to test clients.

    Nothing is changed by it: no cursor moves. To a push subscription each event is one POST with
    the header Tidings-Replay: 1, and only what its user may see now. With --listen, clients connect
    with a token of their own as to the gateway, each to a replay of its own. It ends with the
    cursor to go on from.
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

    how = _How(
        speed=speed,
        subscription=subscription,
        port=listen_on,
        is_dry=dry_run,
        may_leave=really,
    )

    async def work(pool: asyncpg.Pool) -> None:
        await _replay(pool, context.obj, options, how)

    on_database(context, work)


async def _replay(
    pool: asyncpg.Pool, environ: Mapping[str, str], options: RangeOptions, how: _How
) -> None:
    """Raises RefusedError."""
    if how.subscription is not None and how.port is not None:
        raise RefusedError("--subscription and --listen are two places: choose one.")
    if how.port is not None and how.is_dry:
        raise RefusedError("--listen sends nothing before somebody asks: no --dry-run.")
    place = _send if how.port is None else _listen
    await place(pool, environ, options, how, draining_on_signals())


async def _send(
    pool: asyncpg.Pool,
    environ: Mapping[str, str],
    options: RangeOptions,
    how: _How,
    draining: asyncio.Event,
) -> None:
    nats_url, _ = servers_in_use(settings_of(environ, ServerSettings))
    clock, speed = SystemClock(), _speed(how.speed)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(open_bus(nats_url, name="replay"))
        end = await read_log_end(JetStream(bus))
        wanted = await event_range(pool, options, end, clock.now())
        report = report_from(end.epoch, wanted)
        target = await _target(stack, pool, environ, how)
        pace = Pace(None if how.is_dry else speed)
        try:
            async with (
                cut_short_by(draining),
                open_history(
                    bus, wanted.place, is_endless=False, wants=wanted.filter.body_test()
                ) as history,
            ):
                await replay_range(history, wanted, pace, target, report, clock)
        except (CutShortError, ReaderGoneError):
            pass
        except (
            ReplayStoppedError,
            BusUnavailableError,
            SigningKeyGoneError,
            *POSTGRES_ERRORS,
        ) as error:
            raise RefusedError(f"{error}. {report.text(is_dry=how.is_dry)}") from error
        typer.echo(report.text(is_dry=how.is_dry), err=True)


async def _target(
    stack: AsyncExitStack, pool: asyncpg.Pool, environ: Mapping[str, str], how: _How
) -> Target:
    if how.subscription is None:
        return Nowhere() if how.is_dry else StandardOutput()
    target = open_subscription_target(
        pool,
        environ,
        how.subscription,
        is_dry=how.is_dry,
        may_leave=how.may_leave,
        tell=lambda line: write_out(json_line(line)),
    )
    try:
        return await stack.enter_async_context(target)
    except ReplayRefusedError as error:
        raise RefusedError(f"{error}.") from error


async def _listen(
    pool: asyncpg.Pool,
    environ: Mapping[str, str],
    options: RangeOptions,
    how: _How,
    draining: asyncio.Event,
) -> None:
    nats_url, _ = servers_in_use(settings_of(environ, ServerSettings))
    http, speed = HttpSettings(port=how.port or 0), _speed(how.speed)
    with listen(http) as listener:
        wanted, end = await _range_now(pool, nats_url, options)
        offer = Offer(nats_url, wanted, end, speed)
        clock = SystemClock()
        issuer = issuer_of(settings_of(environ, JwtSettings), clock)
        authenticator = Authenticator(pool, clock=clock, issuer=issuer)
        app = ReplayListener(pool, offer, authenticator, clock, draining)
        typer.echo(
            f"Replaying at {url_of(listener, http)}{PATH}?types=* until interrupted", err=True
        )
        await serve(app, listener, http, draining)


async def _range_now(
    pool: asyncpg.Pool, nats_url: str, options: RangeOptions
) -> tuple[EventRange, Cursor]:
    """And the end of the log, where each replay of it ends."""
    async with open_bus(nats_url, name="replay") as bus:
        end = await read_log_end(JetStream(bus))
        wanted = await event_range(pool, options, end, SystemClock().now())
    last = end.sequence
    if wanted.place.before is not None:
        last = min(last, wanted.place.before - 1)
    place = msgspec.structs.replace(wanted.place, before=last + 1)
    return EventRange(place, wanted.filter), Cursor(end.epoch, last)


def _speed(text: str) -> float | None:
    """Raises RefusedError."""
    try:
        return speed_of(text)
    except ValueError as error:
        raise RefusedError(f"--speed {text!r} is {error}.") from error


class StandardOutput:
    async def send(self, line: EventLine) -> str | None:
        """Raises ReaderGoneError."""
        write_out(json_line(line))
        return None
