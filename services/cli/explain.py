"""`tidings explain`: why a push did, or did not, arrive (docs/adr/0018)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, TypeAlias

import asyncpg
import msgspec
import typer

from services.cli.event_range import moment_of
from services.cli.explain_output import print_explanation
from services.cli.on_database import Json, RefusedError, on_database
from services.cli.settings import (
    ServerSettings,
    servers_in_use,
    settings_of,
    with_servers_in_use,
)
from services.webhooks.settings import WebhookSettings
from shared.bus.connection import Bus, BusUnavailableError, open_bus
from shared.operate.explain.explaining import Resources
from shared.operate.explain.explaining import explain as explain_question
from shared.operate.explain.words import (
    AllOfUser,
    ByAccount,
    Explanation,
    OneConnection,
    OneSubscription,
    Outcome,
    Question,
    Receivers,
    event_named,
)
from shared.runtime.clock import SystemClock
from shared.runtime.secret_key import SecretKeySettings, vault_of

EXIT_CODES = {Outcome.TOLD: 0, Outcome.WAITS: 10, Outcome.NOT_TOLD: 11, Outcome.UNKNOWN: 12}
_CONNECT_SECONDS = 3.0


Event: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="EVENT_OR_ACCOUNT",
        help="The cursor or sequence that `tidings events` shows, or an account, by id or name: "
        "its newest event.",
    ),
]
Type: TypeAlias = Annotated[
    str | None,
    typer.Option("--type", help="With an account: the newest that changed it.", metavar="TYPE"),
]
Since: TypeAlias = Annotated[
    str | None,
    typer.Option(help="With an account: no older one; 2h, or a time.", metavar="TIME"),
]


def explain(  # noqa: PLR0913 - an option each
    context: typer.Context,
    event: Event,
    *,
    subscription: Annotated[
        str | None, typer.Option(help="Of this push subscription.", metavar="ID")
    ] = None,
    connection: Annotated[
        str | None, typer.Option(help="Of this connection.", metavar="ID")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(help="Of all subscriptions and connections of this user.", metavar="USER"),
    ] = None,
    type_: Type = None,
    since: Since = None,
    json: Json = False,
) -> None:
    """Say why an event did, or did not, arrive at somebody, and what to do.

    Exit code 0: it was told, to all that were asked about; 10: it waits, and will be told; 11: it
    was not told, and will not be by itself; 12: not known. 3: it could not be looked up.
    """
    answers: list[Explanation] = []

    async def work(pool: asyncpg.Pool) -> None:
        not_before = moment_of(since, "--since", SystemClock().now())
        which = event_named(event, type_=type_, since=not_before)
        if (type_ or since) and not isinstance(which, ByAccount):
            raise RefusedError("--type and --since choose an event of an account: give that.")
        question = Question(which, _receivers(subscription, connection, user))
        async with _resources(pool, context.obj) as resources:
            answers.append(await explain_question(resources, question))

    try:
        on_database(context, work)
    except typer.Exit as done:
        if done.exit_code:
            raise
    [found] = answers
    if json:
        typer.echo(msgspec.json.encode(found))
    else:
        print_explanation(found)
    raise typer.Exit(EXIT_CODES[found.outcome])


def _receivers(subscription: str | None, connection: str | None, user: str | None) -> Receivers:
    """Raises RefusedError."""
    match (subscription, connection, user):
        case (str(), None, None):
            return OneSubscription(subscription)
        case (None, str(), None):
            return OneConnection(connection)
        case (None, None, str()):
            return AllOfUser(user)
        case _:
            raise RefusedError("Say whom it is about: one of --subscription, --connection, --user.")


@asynccontextmanager
async def _resources(pool: asyncpg.Pool, environ: Mapping[str, str]) -> AsyncIterator[Resources]:
    """Without NATS much can still be explained: above all why nothing arrives."""
    nats_url, _ = servers_in_use(settings_of(environ, ServerSettings))
    keys = settings_of(with_servers_in_use(environ), SecretKeySettings)
    vault = None if keys.secret_key is None else vault_of(keys)
    async with AsyncExitStack() as stack:
        bus: Bus | None = None
        try:
            bus = await stack.enter_async_context(
                open_bus(nats_url, name="explain", connect_seconds=_CONNECT_SECONDS)
            )
        except BusUnavailableError as error:
            typer.echo(f"tidings: {error}", err=True)
        webhooks = settings_of(environ, WebhookSettings)
        yield Resources(
            pool=pool, bus=bus, vault=vault, origin_at_once_max=webhooks.origin_at_once_max
        )
