"""`tidings account remove`: an account, its data, its blobs and its events, for ever."""

import sys
from collections.abc import Mapping
from typing import Annotated, Literal

import asyncpg
import typer

from services.cli.on_database import Json, RefusedError, on_database, tell
from services.cli.output import show
from services.cli.settings import ServerSettings, servers_in_use, settings_of
from shared.bus.connection import BusUnavailableError, ServerTooOldError
from shared.bus.control import ControlMessage
from shared.log.appender import LogUnavailableError
from shared.log.open_log import open_writable_log
from shared.log.removals import AccountRemovals
from shared.store.removals import (
    RemovedAccount,
    begin_removal,
    erase_rows,
    find_account_to_remove,
)

_CONNECT_SECONDS = 5.0


def account_remove(
    context: typer.Context,
    account: str,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove ACCOUNT (a name or an id) with all that is in it; this cannot be undone.

    It leaves all sessions and streams at once. Its users stay, with their tokens and their other
    accounts, also when it was a user's personal one.
    """

    async def work(pool: asyncpg.Pool) -> None:
        account_id, name = await find_account_to_remove(pool, account)
        if not yes:
            _ask(account_id, name)
        removed = await begin_removal(pool, account_id)
        changed = [ControlMessage(grants_changed=user_id) for user_id in sorted(removed.user_ids)]
        if changed:
            await tell(context.obj, *changed)
        log = await _end(pool, context.obj, removed)
        show(
            {"account": account_id, "name": name, "log": log},
            as_json=json,
            title=f"Account {name} is removed",
        )

    on_database(context, work)


def _ask(account_id: str, name: str) -> None:
    if not sys.stdin.isatty():
        raise RefusedError("nobody is there to be asked: say --yes.")
    question = f"Remove account {name} ({account_id}) and all that is in it, for ever?"
    if not typer.confirm(question, err=True):
        raise RefusedError("nothing was removed.")


async def _end(
    pool: asyncpg.Pool, environ: Mapping[str, str], removed: RemovedAccount
) -> Literal["erased", "later"]:
    """What becomes of its events; a dispatcher does what cannot be done now."""
    nats_url, _ = servers_in_use(settings_of(environ, ServerSettings))
    try:
        async with open_writable_log(
            nats_url, pool, name="cli", connect_seconds=_CONNECT_SECONDS
        ) as log:
            await AccountRemovals(pool, log.eraser).end(removed.id, removed.removed_at)
    except (BusUnavailableError, ServerTooOldError, LogUnavailableError) as error:
        await erase_rows(pool, removed.id)
        typer.echo(
            f"tidings: a dispatcher will erase the account's events, not possible now: {error}",
            err=True,
        )
        return "later"
    return "erased"
