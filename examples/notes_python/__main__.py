"""`python -m examples.notes_python`: serves notes until SIGTERM or SIGINT."""

import asyncio
import logging
import os
import signal
from pathlib import Path

import asyncpg

from examples.notes_python import store
from examples.notes_python.methods import DESCRIPTION, NoteMethods
from shared.bus.connection import Bus, open_bus
from shared.method_service.author import AppendFailedError, append_states, method_service

_log = logging.getLogger("notes")
_TELL_SECONDS = 0.5
_ACCOUNTS_AT_ONCE = 500
_POSTGRES_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)


async def tell_untold(bus: Bus, pool: asyncpg.Pool, token: str) -> None:
    """Append what the log may lack, until cancelled: after a crash, also what its calls changed."""
    while True:
        try:
            untold = await store.read_untold(pool, _ACCOUNTS_AT_ONCE)
            if untold:
                states = {
                    account_id: {"Note": (f"n{modseq}", modseq)}
                    for account_id, modseq in untold.items()
                }
                await append_states(bus, token, states)
                await store.note_told(pool, untold)
        except (*_POSTGRES_ERRORS, AppendFailedError) as error:
            _log.warning("not told yet: %r", error)
        await asyncio.sleep(_TELL_SECONDS)


async def main() -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with (
        asyncpg.create_pool(os.environ["NOTES_POSTGRES_URL"], min_size=0) as pool,
        open_bus(os.environ["NOTES_NATS_URL"], name="notes") as bus,
        asyncio.TaskGroup() as tasks,
    ):
        await pool.execute(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
        telling = tasks.create_task(tell_untold(bus, pool, os.environ["NOTES_TOKEN"]))
        async with method_service(bus, DESCRIPTION, NoteMethods(pool).handlers()):
            print("notes are served", flush=True)
            await stopping.wait()
        telling.cancel()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
