"""The end of an account in the log: a tombstone, then nothing (docs/adr/0022)."""

import asyncpg

from shared.bus.jetstream import JetStream
from shared.bus.publisher import Publisher
from shared.log.appender import Appender
from shared.log.event import Cause
from shared.log.keeper import LogKeeper
from shared.log.subjects import STREAM, subject_of
from shared.store.logs import raise_highest_sequence


class LogEraser:
    """Both methods may be repeated, by any number of processes at once.

    They raise LogUnavailableError while the log is not sound, and what their calls of NATS and
    PostgreSQL raise.
    """

    def __init__(
        self, pool: asyncpg.Pool, keeper: LogKeeper, jetstream: JetStream, publisher: Publisher
    ) -> None:
        self._pool = pool
        self._keeper = keeper
        self._jetstream = jetstream
        self._publisher = publisher

    async def end(self, account_id: str, *, at: str, cause: Cause) -> None:
        """Append the account's tombstone, and erase what was before it.

        PostgreSQL has none of its states any more, so a rebuild that begins now does not know it,
        and one that began before is over: the log is sound.
        """
        sound = await self._keeper.require_sound()
        appender = Appender(self._publisher, self._jetstream, is_sound=lambda: True)
        sequence = await appender.end(account_id, at=at, cause=cause)
        await raise_highest_sequence(self._pool, STREAM, epoch=sound.epoch, sequence=sequence)
        await self._erase(account_id, before=sequence)

    async def forget(self, account_id: str) -> bool:
        """Erase the tombstone, too; False: it is the end of the log, and stays for now.

        Whoever follows the log knows that it is there by its last message.
        """
        sound = await self._keeper.require_sound()
        return await self._erase(account_id, before=sound.last_sequence)

    async def _erase(self, account_id: str, *, before: int) -> bool:
        """One by one: a purge would leave the bytes in the server's files. Whether none is left."""
        subject = subject_of(account_id)
        while (message := await self._jetstream.first_message(STREAM, subject)) is not None:
            if message.sequence >= before:
                return False
            await self._jetstream.erase_message(STREAM, message.sequence)
        return True
