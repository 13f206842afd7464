"""`tidings connection`: who is connected, and what was sent to whom (docs/adr/0017)."""

from contextlib import suppress
from typing import Annotated, TypeAlias

import msgspec
import typer

from services.cli.account_names import account_id_of
from services.cli.connection_words import (
    LIST_COLUMNS,
    MOMENT_COLUMNS,
    gateway_line,
    list_row,
    moment_row,
    shown_facts,
)
from services.cli.event_lines import ReaderGoneError
from services.cli.on_database import Json, RefusedError
from services.cli.on_gateways import on_gateways
from services.cli.output import show, show_table
from services.cli.watched_lines import warn_of_silent, write_watched
from shared.operate.connections import ConnectionFilter, Transport
from shared.operate.gateways import Effect, Gateways
from shared.runtime.clock import SystemClock
from shared.runtime.lifetime import CutShortError, cut_short_by, draining_on_signals

connection = typer.Typer(help="Connected clients: SSE and WebSocket.", no_args_is_help=True)
Id: TypeAlias = Annotated[str, typer.Argument(metavar="ID")]
MaybeId: TypeAlias = Annotated[str | None, typer.Argument(metavar="[ID]")]
User: TypeAlias = Annotated[
    str | None, typer.Option(help="Of this user, by id or name.", metavar="USER")
]


@connection.command("list")
def connection_list(  # noqa: PLR0913 - an option each
    context: typer.Context,
    *,
    user: User = None,
    account: Annotated[
        str | None,
        typer.Option(help="That listen to this account, by id or name.", metavar="ACCOUNT"),
    ] = None,
    address: Annotated[str | None, typer.Option(help="From this address.")] = None,
    credential: Annotated[
        str | None, typer.Option(help="With this token, by id.", metavar="ID")
    ] = None,
    transport: Annotated[Transport | None, typer.Option(help="Of this kind.")] = None,
    stalled: Annotated[
        bool, typer.Option("--stalled", help="Whose client takes nothing now.")
    ] = False,
    ended: Annotated[
        bool, typer.Option("--ended", help="That ended in the last minutes, instead.")
    ] = False,
    count: Annotated[int, typer.Option(help="At most so many.", min=0)] = 100,
    json: Json = False,
) -> None:
    """List the connections of all gateways, the newest first; all given filters must hold."""

    async def work(gateways: Gateways) -> None:
        wanted = ConnectionFilter(
            user=user,
            account=await account_id_of(context.obj, account),
            address=address,
            credential=credential,
            transport=transport,
            is_stalled=stalled,
        )
        listing = await gateways.find(wanted, count=count, ended=ended)
        if json:
            typer.echo(msgspec.json.encode(listing))
            return
        now = SystemClock().now()
        if listing.connections:
            show_table(LIST_COLUMNS, [list_row(one, now) for one in listing.connections])
            typer.echo()
        if listing.is_more:
            typer.echo(f"There are more than {count}: give --count, or say which ones.")
        for gateway in listing.gateways:
            typer.echo(gateway_line(gateway, now))
        warn_of_silent(listing.silent)

    on_gateways(context, work)


@connection.command("show")
def connection_show(context: typer.Context, connection_id: Id, *, json: Json = False) -> None:
    """Show one, open or ended in the last minutes: its facts, and the last frames it was sent."""

    async def work(gateways: Gateways) -> None:
        details = await gateways.show(connection_id)
        if json:
            typer.echo(msgspec.json.encode(details))
            return
        now = SystemClock().now()
        show(shown_facts(details, now), as_json=False, title=f"Connection {details.id}")
        if details.moments:
            typer.echo()
            show_table(MOMENT_COLUMNS, [moment_row(one) for one in details.moments])

    on_gateways(context, work)


@connection.command("tail")
def connection_tail(
    context: typer.Context,
    connection_id: MaybeId = None,
    *,
    user: User = None,
    json: Json = False,
) -> None:
    """Follow live what is sent on one connection, or on all of a user, also on those that come."""

    async def work(gateways: Gateways) -> None:
        wanted = _one_or_user(connection_id, user)
        if connection_id is not None and (await gateways.show(connection_id)).ended_at is not None:
            raise RefusedError(f"connection {connection_id} has ended: see `connection show`.")
        with suppress(CutShortError, ReaderGoneError):
            async with cut_short_by(draining_on_signals()), gateways.watching(wanted) as watching:
                await write_watched(watching, as_json=json, until_end_of=connection_id)

    on_gateways(context, work)


@connection.command("close")
def connection_close(
    context: typer.Context,
    connection_id: MaybeId = None,
    *,
    user: User = None,
    reason: Annotated[str, typer.Option(help="For the logs.", metavar="TEXT")] = "",
    json: Json = False,
) -> None:
    """Close one connection, or all of a user. Clients come back: revoke a token to keep one out."""

    async def work(gateways: Gateways) -> None:
        wanted = _one_or_user(connection_id, user)
        _tell_effect(await gateways.close(wanted, reason=reason), "closed", as_json=json)

    on_gateways(context, work)


@connection.command("resync")
def connection_resync(
    context: typer.Context, connection_id: MaybeId = None, *, user: User = None, json: Json = False
) -> None:
    """Tell one connection, or all of a user, the newest state of everything, as if it were new."""

    async def work(gateways: Gateways) -> None:
        wanted = _one_or_user(connection_id, user)
        _tell_effect(await gateways.resync(wanted), "resynchronised", as_json=json)

    on_gateways(context, work)


def _one_or_user(connection_id: str | None, user: str | None) -> ConnectionFilter:
    """Never everything: a slip of the hand must not close all streams."""
    if (connection_id is None) == (user is None):
        raise RefusedError("give the ID of a connection, or --user.")
    return ConnectionFilter(connection=connection_id, user=user)


def _tell_effect(effect: Effect, done: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(effect))
    elif effect.count:
        typer.echo(f"{effect.count} {done}: {', '.join(effect.connections)}")
    warn_of_silent(effect.silent)
    if not effect.count:
        raise RefusedError(f"no connection was {done}: none that is open was meant.")
