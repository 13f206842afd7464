"""`tidings migrate` and `tidings log rebuild`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import typer

from services.cli.run import starting
from services.cli.settings import ServerSettings, servers_in_use, settings_of
from shared.log.open_log import WritableLog, open_writable_log
from shared.log.topology import LogSettings
from shared.store.migrate import migrate, require_migrations
from shared.store.pool import open_pool


async def apply_migrations(environ: Mapping[str, str], *, as_json: bool = False) -> None:
    """Idempotent; a deployment runs it before its processes."""
    nats_url, postgres_url = servers_in_use(settings_of(environ, ServerSettings))
    with starting():
        applied = await migrate(postgres_url)
    async with _log_of(environ, nats_url, postgres_url) as log:
        with starting():
            await log.keeper.ensure()
            is_changed = await log.keeper.apply_topology()
    if as_json:
        facts = {"migrationsApplied": applied, "streamsChanged": is_changed}
        typer.echo(msgspec.json.encode(facts))
        return
    typer.echo(f"Migrations applied: {', '.join(applied) or 'none were missing'}.")
    typer.echo(f"Streams: {'brought to their declaration' if is_changed else 'as declared'}.")


async def rebuild_log(environ: Mapping[str, str], *, as_json: bool = False) -> None:
    """Whatever its health."""
    nats_url, postgres_url = servers_in_use(settings_of(environ, ServerSettings))
    async with _log_of(environ, nats_url, postgres_url) as log:
        with starting():
            sound = await log.keeper.rebuild()
    if as_json:
        facts = {"epoch": sound.epoch, "lastSequence": sound.last_sequence}
        typer.echo(msgspec.json.encode(facts))
        return
    typer.echo(f"The log was made anew: epoch {sound.epoch}, sequence {sound.last_sequence}.")


@asynccontextmanager
async def _log_of(
    environ: Mapping[str, str], nats_url: str, postgres_url: str
) -> AsyncIterator[WritableLog]:
    settings = settings_of(environ, LogSettings)
    async with open_pool(postgres_url) as pool:
        with starting():
            await require_migrations(pool)
            opened = open_writable_log(nats_url, pool, name="cli", settings=settings)
            log = await opened.__aenter__()
        try:
            yield log
        finally:
            await opened.__aexit__(None, None, None)
