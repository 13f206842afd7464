"""Users, tokens, accounts and grants: `tidings user add` and its siblings."""

from datetime import timedelta
from typing import Annotated

import asyncpg
import typer

from services.cli.on_database import Json, RefusedError, on_database, tell
from services.cli.output import show
from shared.bus.control import ControlMessage
from shared.operate.times import time_of
from shared.store.credentials import issue_token, revoke_token
from shared.store.people import add_account, add_grant, add_user, remove_grant
from shared.store.records import Role

user = typer.Typer(help="People who sign in.", no_args_is_help=True)
token = typer.Typer(help="Bearer tokens of users.", no_args_is_help=True)
account = typer.Typer(help="Accounts, whose data changes.", no_args_is_help=True)
grant = typer.Typer(help="Which user may see which account.", no_args_is_help=True)


@user.command("add")
def user_add(context: typer.Context, name: str, *, json: Json = False) -> None:
    """Add a user with a personal account and its default address book."""

    async def work(pool: asyncpg.Pool) -> None:
        user_id, account_id = await add_user(pool, _checked_name(name))
        show({"user": user_id, "account": account_id}, as_json=json, title=f"User {name}")

    on_database(context, work)


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

    on_database(context, work)


@token.command("revoke")
def token_revoke(
    context: typer.Context, token_id: Annotated[str, typer.Argument(metavar="ID")]
) -> None:
    """Revoke a token; its streams are closed, its push subscriptions erased."""

    async def work(pool: asyncpg.Pool) -> None:
        ended = await revoke_token(pool, token_id)
        await tell(
            context.obj,
            ControlMessage(revoked=token_id),
            ControlMessage(subscriptions_ended=ended),
        )

    on_database(context, work)


@account.command("add")
def account_add(context: typer.Context, name: str, *, json: Json = False) -> None:
    """Add a shared account; nobody sees it before `tidings grant add`."""

    async def work(pool: asyncpg.Pool) -> None:
        account_id = await add_account(pool, _checked_name(name))
        show({"account": account_id}, as_json=json, title=f"Account {name}")

    on_database(context, work)


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
        await tell(context.obj, ControlMessage(grants_changed=user_id))
        show({"account": account, "user": user_id, "role": role}, as_json=json, title="Grant")

    on_database(context, work)


@grant.command("remove")
def grant_remove(context: typer.Context, account: str, user: str) -> None:
    """Take ACCOUNT from USER; it leaves the open streams within seconds."""

    async def work(pool: asyncpg.Pool) -> None:
        user_id = await remove_grant(pool, account, user)
        await tell(context.obj, ControlMessage(grants_changed=user_id))

    on_database(context, work)


def _checked_name(name: str) -> str:
    if not name.strip() or len(name) > 255 or not name.isprintable():  # noqa: PLR2004
        raise RefusedError("a name is 1 to 255 printable characters.")
    return name


def _lifetime(text: str | None) -> timedelta | None:
    if text is None:
        return None
    ttl = time_of(text, "--ttl")
    if not ttl:
        raise RefusedError(f"--ttl {text} is not a time in which a token could be used.")
    return ttl
