"""`tidings connection`: who is connected, and what was sent to whom (docs/adr/0017)."""

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
from services.cli.on_database import Json
from services.cli.on_gateways import on_gateways
from services.cli.output import show, show_table
from shared.operate.connections import ConnectionFilter, Transport
from shared.operate.gateways import Gateways
from shared.runtime.clock import SystemClock

connection = typer.Typer(help="Connected clients: SSE and WebSocket.", no_args_is_help=True)
Id: TypeAlias = Annotated[str, typer.Argument(metavar="ID")]
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
        _warn_of_silent(listing.silent)

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


def _warn_of_silent(silent: tuple[str, ...]) -> None:
    for gateway in silent:
        typer.echo(
            f"tidings: gateway {gateway} did not answer: it hangs, or has just died.", err=True
        )
