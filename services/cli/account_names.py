"""Accounts as people name them."""

from collections.abc import Mapping

from services.cli.settings import ServerSettings, servers_in_use, settings_of
from shared.store.people import find_account
from shared.store.pool import open_pool


async def account_id_of(environ: Mapping[str, str], name: str | None) -> str | None:
    """The id of an account that is given by id or name; raises UnknownNameError."""
    if name is None:
        return None
    _, postgres_url = servers_in_use(settings_of(environ, ServerSettings))
    async with open_pool(postgres_url, connections_max=1) as pool:
        return await find_account(pool, name)
