"""Whether the log may be appended to right now."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shared.bus.connection import BusUnavailableError
from shared.bus.jetstream import JetStreamError
from shared.bus.publisher import AppendRefusedError
from shared.log.appender import LogUnavailableError
from shared.log.keeper import SoundLog
from shared.store.pool import POSTGRES_ERRORS

_log = logging.getLogger(__name__)

_CHECK_SECONDS = 5.0
_RETRY_SECONDS = 0.5


class LogGuard:
    """Checks, and with `LogKeeper.ensure` repairs, on start, after each reconnect, every 5 s."""

    def __init__(self, check: Callable[[], Awaitable[SoundLog]]) -> None:
        self._check = check
        self._epoch: str | None = None
        self._sound = asyncio.Event()
        self._doubted = asyncio.Event()

    @property
    def is_sound(self) -> bool:
        return self._sound.is_set()

    def doubt(self) -> None:
        """A connection was lost: nothing is appended until the log was checked again."""
        self._sound.clear()
        self._doubted.set()

    async def epoch(self) -> str:
        """Wait until the log is sound."""
        while self._epoch is None or not self._sound.is_set():
            await self._sound.wait()
        return self._epoch

    async def run(self) -> None:
        """Raises LogForeignError; any other failure is waited out."""
        while True:
            self._doubted.clear()
            try:
                sound = await self._check()
            except (
                BusUnavailableError,
                JetStreamError,
                LogUnavailableError,
                AppendRefusedError,  # of a repair: until there is room again, for one
                *POSTGRES_ERRORS,
            ) as error:
                self._sound.clear()
                _log.warning("log_check_failed", extra={"error": repr(error)})
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if not self._doubted.is_set():  # else what was checked may be another log by now
                self._epoch = sound.epoch
                self._sound.set()
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._doubted.wait()
            except TimeoutError:
                pass
