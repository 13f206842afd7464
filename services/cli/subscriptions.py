"""`tidings subscription`: push subscriptions and their lanes, for who must find out why."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated

import asyncpg
import msgspec
import typer

from services.cli.on_database import Json, on_database, tell
from services.cli.output import show, show_table
from services.cli.settings import settings_of, with_servers_in_use
from shared.bus.control import ControlMessage
from shared.operate.subscriptions import subscription_details, subscription_facts
from shared.runtime.clock import utc_text
from shared.runtime.secret_key import SecretKeySettings, vault_of
from shared.store.lane_admin import (
    list_lanes,
    pause_lane,
    probe_lane,
    resume_lane,
    resync_lane,
)
from shared.web_push.sealing import Vault

subscription = typer.Typer(help="Webhooks: push subscriptions.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID")]


@subscription.command("list")
def subscription_list(
    context: typer.Context,
    *,
    count: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
    json: Json = False,
) -> None:
    """List them, those first that have been behind for the longest."""

    async def work(pool: asyncpg.Pool) -> None:
        lanes = await list_lanes(pool, lanes_max=count)
        if json:
            facts = [subscription_facts(lane) for lane in lanes]
            typer.echo(msgspec.json.encode({"subscriptions": facts}))
            return
        columns = ("ID", "User", "State", "Behind since", "Failures", "Last", "Ends")
        show_table(
            columns,
            [
                (
                    lane.id,
                    lane.user,
                    lane.state,
                    _time(lane.behind_since),
                    str(lane.failures),
                    lane.last_outcome or "-",
                    _time(lane.ends_at),
                )
                for lane in lanes
            ],
        )

    on_database(context, work)


@subscription.command("show")
def subscription_show(context: typer.Context, subscription_id: Id, *, json: Json = False) -> None:
    """Show its lane, and the last attempts with what the endpoint answered."""

    async def work(pool: asyncpg.Pool) -> None:
        details = await subscription_details(pool, _vault(context.obj), subscription_id)
        if json:
            typer.echo(msgspec.json.encode(details))
            return
        facts = msgspec.to_builtins(details)
        del facts["lastAttempts"]
        types = "all" if details.types is None else ", ".join(details.types) or "none"
        shown = {name: _text(value) for name, value in facts.items()} | {"types": types}
        show(shown, as_json=False, title=f"Subscription {subscription_id}")
        columns = ("At", "Kind", "Outcome", "Status", "ms", "Up to", "Answer")
        show_table(
            columns,
            [
                (
                    one.at,
                    one.kind,
                    one.outcome,
                    str(one.status or "-"),
                    str(one.milliseconds),
                    str(one.cursor),
                    one.answer or "",
                )
                for one in details.last_attempts
            ],
        )

    on_database(context, work)


def _text(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value)


@subscription.command("pause")
def subscription_pause(context: typer.Context, subscription_id: Id) -> None:
    """Send it nothing until it is resumed; nothing is lost."""
    _change(context, pause_lane, subscription_id)


@subscription.command("resume")
def subscription_resume(context: typer.Context, subscription_id: Id) -> None:
    """Go on with a paused one, or with one that backs off, at once."""
    _change(context, resume_lane, subscription_id)


@subscription.command("probe")
def subscription_probe(context: typer.Context, subscription_id: Id) -> None:
    """Try now what waits for its backoff."""
    _change(context, probe_lane, subscription_id)


@subscription.command("resync")
def subscription_resync(context: typer.Context, subscription_id: Id) -> None:
    """Tell it the newest state of everything, as if it had never been told."""
    _change(context, resync_lane, subscription_id)


def _change(
    context: typer.Context,
    change: Callable[[asyncpg.Pool, str], Awaitable[None]],
    subscription_id: str,
) -> None:
    async def work(pool: asyncpg.Pool) -> None:
        await change(pool, subscription_id)
        await tell(context.obj, ControlMessage(webhooks_due=True))

    on_database(context, work)


def _time(at: datetime | None) -> str:
    return "-" if at is None else utc_text(at)


def _vault(environ: Mapping[str, str]) -> Vault | None:
    settings = settings_of(with_servers_in_use(environ), SecretKeySettings)
    return None if settings.secret_key is None else vault_of(settings)
