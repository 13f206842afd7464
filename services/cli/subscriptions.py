"""`tidings subscription`: push subscriptions and their lanes, for who must find out why."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import asyncpg
import msgspec
import typer

from services.cli.on_database import Json, on_database, tell
from services.cli.output import show, show_table
from services.cli.settings import settings_of, with_servers_in_use
from shared.bus.control import ControlMessage
from shared.runtime.clock import utc_text
from shared.runtime.secret_key import SecretKeySettings, vault_of
from shared.store.lane_admin import (
    AttemptView,
    LaneView,
    list_lanes,
    pause_lane,
    probe_lane,
    read_attempts,
    read_lane,
    read_sealed,
    resume_lane,
    resync_lane,
)
from shared.web_push.endpoint import read_endpoint
from shared.web_push.endpoint_secrets import unseal_endpoint
from shared.web_push.sealing import SealingKey, UnsealError

subscription = typer.Typer(help="Webhooks: push subscriptions.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(metavar="ID")]


class _Attempt(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    at: str
    kind: str
    outcome: str
    status: int | None
    milliseconds: int
    cursor: int
    answer: str | None


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
            typer.echo(msgspec.json.encode({"subscriptions": [_facts(lane) for lane in lanes]}))
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
        lane = await read_lane(pool, subscription_id)
        attempts = await read_attempts(pool, subscription_id)
        origin, key = await _opened(context, pool, subscription_id)
        told = [_attempt(attempt, key, subscription_id) for attempt in attempts]
        facts = {**_facts(lane), "origin": origin}
        if json:
            typer.echo(msgspec.json.encode({**facts, "lastAttempts": told}))
            return
        types = "all" if lane.types is None else ", ".join(lane.types) or "none"
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
                for one in told
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


def _facts(lane: LaneView) -> dict[str, object]:
    """By the names that JMAP would give them."""
    facts: dict[str, object] = msgspec.to_builtins(
        {_camel(name): getattr(lane, name) for name in lane.__struct_fields__},
        builtin_types=(datetime,),
    )
    return {
        name: utc_text(value) if isinstance(value, datetime) else value
        for name, value in facts.items()
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _time(at: datetime | None) -> str:
    return "-" if at is None else utc_text(at)


async def _opened(
    context: typer.Context, pool: asyncpg.Pool, subscription_id: str
) -> tuple[str, SealingKey | None]:
    """Where it goes, without the path, which is a secret; and what opens its answers."""
    settings = settings_of(with_servers_in_use(context.obj), SecretKeySettings)
    if settings.secret_key is None:
        return "sealed: TIDINGS_SECRET_KEY is not set", None
    sealed, wrapped = await read_sealed(pool, subscription_id)
    try:
        key = vault_of(settings).unwrap(wrapped, subscription_id)
        endpoint = unseal_endpoint(key, subscription_id, sealed)
    except UnsealError:
        return "sealed under another TIDINGS_SECRET_KEY", None
    return read_endpoint(endpoint.url).origin, key


def _attempt(attempt: AttemptView, key: SealingKey | None, subscription_id: str) -> _Attempt:
    answer = None
    if attempt.sealed_answer is not None and key is not None:
        said = key.unseal(attempt.sealed_answer, purpose=f"answer:{subscription_id}")
        answer = said.decode(errors="replace")
    return _Attempt(
        at=utc_text(attempt.at),
        kind=attempt.kind,
        outcome=attempt.outcome,
        status=attempt.status,
        milliseconds=attempt.milliseconds,
        cursor=attempt.cursor,
        answer=answer,
    )
