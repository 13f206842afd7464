"""`tidings vapid`: the keys that sign webhooks (RFC 8292), and how they are rotated."""

import base64
from typing import Annotated

import asyncpg
import msgspec
import typer

from services.cli.on_database import Json, on_database, tell
from services.cli.output import show
from services.cli.settings import settings_of, with_servers_in_use
from shared.bus.control import ControlMessage
from shared.jmap.ids import utc_date
from shared.operate.times import time_of
from shared.runtime.secret_key import SecretKeySettings, vault_of
from shared.store.vapid_keys import StoredVapidKey, rotate_vapid_key, vapid_keys
from shared.web_push.vapid import VapidKey

vapid = typer.Typer(help="The keys that sign webhooks.", no_args_is_help=True)


@vapid.command("show")
def vapid_show(context: typer.Context, *, json: Json = False) -> None:
    """Show the active key, and those that still sign for the subscriptions made under them."""

    async def work(pool: asyncpg.Pool) -> None:
        keys = await vapid_keys(pool)
        if json:
            typer.echo(msgspec.json.encode({"keys": [_facts(key) for key in keys]}))
            return
        for key in keys:
            state = "Active key" if key.retires_at is None else "Retiring key"
            show(_facts(key), as_json=False, title=state)

    on_database(context, work)


@vapid.command("rotate")
def vapid_rotate(
    context: typer.Context,
    *,
    grace: Annotated[
        str, typer.Option(help="How long the old key signs for what was made under it, as 12h.")
    ] = "7d",
    json: Json = False,
) -> None:
    """Make a new key the active one. Clients see it in the session and subscribe anew.

    After the grace what was made under the old key is destroyed, and then the old key.
    """

    async def work(pool: asyncpg.Pool) -> None:
        vault = vault_of(settings_of(with_servers_in_use(context.obj), SecretKeySettings))
        active, before = await rotate_vapid_key(
            pool, vault, VapidKey.generate(), grace=time_of(grace, "--grace")
        )
        await tell(context.obj, ControlMessage(vapid_key_changed=True))
        facts = _facts(active)
        if before is not None and before.retires_at is not None:
            facts |= {"previousId": before.id, "previousRetiresAt": utc_date(before.retires_at)}
        show(facts, as_json=json, title="Active key")

    on_database(context, work)


def _facts(key: StoredVapidKey) -> dict[str, str]:
    encoded = base64.urlsafe_b64encode(key.public_key).decode().rstrip("=")
    facts = {
        "id": key.id,
        "applicationServerKey": encoded,
        "createdAt": utc_date(key.created_at),
        "subscriptions": str(key.subscriptions),
    }
    if key.retires_at is not None:
        facts["retiresAt"] = utc_date(key.retires_at)
    return facts
