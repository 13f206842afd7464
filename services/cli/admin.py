"""Users, tokens, accounts and grants: `tidings user add` and its siblings."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated

import asyncpg
import typer

from services.cli.output import show
from services.cli.run import run, starting
from services.cli.settings import ServerSettings, servers_in_use, settings_of
from shared.bus.connection import BusUnavailableError, ServerTooOldError, open_bus
from shared.bus.control import ControlMessage, send_control
from shared.runtime.errors import CouldNotStartError
from shared.store.credentials import (
    UnknownScopeError,
    UnknownTokenError,
    issue_token,
    revoke_token,
)
from shared.store.migrate import require_migrations
from shared.store.people import (
    NameTakenError,
    OwnerNeededError,
    UnknownNameError,
    add_account,
    add_grant,
    add_user,
    remove_grant,
)
from shared.store.pool import open_pool
from shared.store.records import Role

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Work = Callable[[asyncpg.Pool], Awaitable[None]]

user = typer.Typer(help="People who sign in.", no_args_is_help=True)
token = typer.Typer(help="Bearer tokens of users.", no_args_is_help=True)
account = typer.Typer(help="Accounts, whose data changes.", no_args_is_help=True)
grant = typer.Typer(help="Which user may see which account.", no_args_is_help=True)

_TTL = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_SECONDS_OF_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_CONNECT_SECONDS = 5.0
_REFUSALS = (
    NameTakenError,
    OwnerNeededError,
    UnknownNameError,
    UnknownScopeError,
    UnknownTokenError,
)
_REFUSED = 1


class RefusedError(CouldNotStartError):
    """The command asks for what cannot be."""


@user.command("add")
def user_add(context: typer.Context, name: str, *, json: Json = False) -> None:
    """Add a user with a personal account and its default address book."""

    async def work(pool: asyncpg.Pool) -> None:
        user_id, account_id = await add_user(pool, _checked_name(name))
        show({"user": user_id, "account": account_id}, as_json=json, title=f"User {name}")

    _run(context, work)


@token.command("issue")
def token_issue(
    context: typer.Context,
    name: str,
    *,
    scope: Annotated[str, typer.Option(help="Of jmap, append, operate; with commas.")] = "jmap",
    ttl: Annotated[str | None, typer.Option(help="Such as 30d, 12h, 90s; else for ever.")] = None,
    json: Json = False,
) -> None:
    """Issue a token to a user. It is shown once: only its hash is kept."""

    async def work(pool: asyncpg.Pool) -> None:
        scopes = [part.strip() for part in scope.split(",") if part.strip()]
        if not scopes:
            raise RefusedError("a token needs a scope: jmap, append or operate.")
        token_id, secret = await issue_token(pool, name, scopes, _lifetime(ttl))
        show({"id": token_id, "token": secret}, as_json=json, title=f"Token of {name}")

    _run(context, work)


@token.command("revoke")
def token_revoke(
    context: typer.Context, token_id: Annotated[str, typer.Argument(metavar="ID")]
) -> None:
    """Revoke a token; its streams are closed within seconds."""

    async def work(pool: asyncpg.Pool) -> None:
        await revoke_token(pool, token_id)
        await _tell(context.obj, ControlMessage(revoked=token_id))

    _run(context, work)


@account.command("add")
def account_add(context: typer.Context, name: str, *, json: Json = False) -> None:
    """Add a shared account; nobody sees it before `tidings grant add`."""

    async def work(pool: asyncpg.Pool) -> None:
        account_id = await add_account(pool, _checked_name(name))
        show({"account": account_id}, as_json=json, title=f"Account {name}")

    _run(context, work)


@grant.command("add")
def grant_add(
    context: typer.Context,
    account: str,
    user: str,
    role: Annotated[Role, typer.Argument()],
    *,
    json: Json = False,
) -> None:
    """Let USER see ACCOUNT (names or ids), or change what it may do there."""

    async def work(pool: asyncpg.Pool) -> None:
        user_id = await add_grant(pool, account, user, role)
        await _tell(context.obj, ControlMessage(grants_changed=user_id))
        show({"account": account, "user": user_id, "role": role}, as_json=json, title="Grant")

    _run(context, work)


@grant.command("remove")
def grant_remove(context: typer.Context, account: str, user: str) -> None:
    """Take ACCOUNT from USER; it leaves the open streams within seconds."""

    async def work(pool: asyncpg.Pool) -> None:
        user_id = await remove_grant(pool, account, user)
        await _tell(context.obj, ControlMessage(grants_changed=user_id))

    _run(context, work)


def _run(context: typer.Context, work: Work) -> None:
    raise typer.Exit(run(_with_pool(context.obj, work)))


async def _with_pool(environ: Mapping[str, str], work: Work) -> None:
    async with _pool_of(environ) as pool:
        try:
            await work(pool)
        except _REFUSALS as error:
            raise RefusedError(f"{error}.") from error


@asynccontextmanager
async def _pool_of(environ: Mapping[str, str]) -> AsyncIterator[asyncpg.Pool]:
    _, postgres_url = servers_in_use(settings_of(environ, ServerSettings))
    async with open_pool(postgres_url, connections_max=1) as pool:
        with starting():
            await require_migrations(pool)
        yield pool


async def _tell(environ: Mapping[str, str], message: ControlMessage) -> None:
    """The fact is in PostgreSQL; who does not hear of it now finds out a few seconds later."""
    nats_url, _ = servers_in_use(settings_of(environ, ServerSettings))
    try:
        async with open_bus(nats_url, name="cli", connect_seconds=_CONNECT_SECONDS) as bus:
            await send_control(bus, message)
            # A round trip on the connection: what was sent before it has arrived.
            await bus.client.flush(timeout=int(_CONNECT_SECONDS))
    except (BusUnavailableError, ServerTooOldError, TimeoutError) as error:
        typer.echo(f"tidings: done, but running processes were not told: {error}", err=True)


def _checked_name(name: str) -> str:
    if not name.strip() or len(name) > 255 or not name.isprintable():  # noqa: PLR2004
        raise RefusedError("a name is 1 to 255 printable characters.")
    return name


def _lifetime(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = _TTL.fullmatch(text)
    if match is None:
        raise RefusedError(f"--ttl {text} is not a time: give a number and s, m, h or d, as 30d.")
    return timedelta(seconds=int(match[1]) * _SECONDS_OF_UNIT[match[2]])
