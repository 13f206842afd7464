"""`tidings user list`, `tidings token list` and `tidings grant list`."""

from datetime import datetime
from typing import Annotated

import asyncpg
import msgspec
import typer

from services.cli.on_database import Json, RefusedError, on_database
from services.cli.output import show_table
from shared.runtime.clock import SystemClock, utc_text
from shared.store.directory import ListedToken, list_grants, list_tokens, list_users
from shared.store.people import UnknownNameError, find_account, find_user

Count = Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)]


def user_list(
    context: typer.Context,
    prefix: Annotated[str, typer.Argument(help="With which the names begin.")] = "",
    *,
    count: Count = 100,
    json: Json = False,
) -> None:
    """List users by name, with the ids of their personal accounts."""

    async def work(pool: asyncpg.Pool) -> None:
        users = await list_users(pool, prefix, users_max=count)
        if json:
            facts = [
                {
                    "user": one.id,
                    "name": one.name,
                    "account": one.account,
                    "createdAt": _time(one.created_at),
                }
                for one in users
            ]
            typer.echo(msgspec.json.encode({"users": facts}))
            return
        rows = [(one.name, one.id, one.account or "-", _shown(one.created_at)) for one in users]
        show_table(("Name", "User", "Account", "Made"), rows)

    on_database(context, work)


def token_list(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of this user.")],
    *,
    count: Count = 100,
    json: Json = False,
) -> None:
    """List a user's tokens, the newest first; the tokens themselves are not kept."""

    async def work(pool: asyncpg.Pool) -> None:
        tokens = await list_tokens(pool, await _user_id(pool, name), tokens_max=count)
        now = SystemClock().now()
        if json:
            facts = [
                {
                    "id": one.id,
                    "state": _state(one, now),
                    "scopes": one.scopes,
                    "createdAt": _time(one.created_at),
                    "expiresAt": _time(one.expires_at),
                    "revokedAt": _time(one.revoked_at),
                }
                for one in tokens
            ]
            typer.echo(msgspec.json.encode({"tokens": facts}))
            return
        rows = [
            (
                one.id,
                _state(one, now),
                ",".join(one.scopes),
                _shown(one.created_at),
                _shown(one.expires_at),
            )
            for one in tokens
        ]
        show_table(("ID", "State", "Scopes", "Issued", "Expires"), rows)

    on_database(context, work)


def grant_list(
    context: typer.Context,
    *,
    account: Annotated[str | None, typer.Option(help="Of this account, by id or name.")] = None,
    user: Annotated[str | None, typer.Option(help="Of this user, by name.")] = None,
    count: Count = 100,
    json: Json = False,
) -> None:
    """List who sees an account, or which accounts a user sees; in what role."""

    async def work(pool: asyncpg.Pool) -> None:
        if account is None and user is None:
            raise RefusedError("say of whom: --account, --user, or both.")
        grants = await list_grants(
            pool,
            account_id=None if account is None else await find_account(pool, account),
            user_id=None if user is None else await _user_id(pool, user),
            grants_max=count,
        )
        if json:
            facts = [
                {
                    "account": one.account,
                    "accountName": one.account_name,
                    "user": one.user,
                    "userName": one.user_name,
                    "role": one.role,
                }
                for one in grants
            ]
            typer.echo(msgspec.json.encode({"grants": facts}))
            return
        rows = [(one.account_name, one.account, one.user_name, one.role) for one in grants]
        show_table(("Account", "ID", "User", "Role"), rows)

    on_database(context, work)


async def _user_id(pool: asyncpg.Pool, name: str) -> str:
    """Raises UnknownNameError."""
    user_id = await find_user(pool, name)
    if user_id is None:
        raise UnknownNameError("user", name)
    return user_id


def _state(one: ListedToken, now: datetime) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "expired" if one.expires_at is not None and one.expires_at <= now else "valid"


def _time(at: datetime | None) -> str | None:
    return None if at is None else utc_text(at)


def _shown(at: datetime | None) -> str:
    return _time(at) or "-"
