"""Failures of the check of the log are waited out."""

import asyncio

import pytest

from shared.bus.connection import BusUnavailableError
from shared.bus.publisher import AppendRefusedError
from shared.log.appender import LogUnavailableError
from shared.log.guard import LogGuard
from shared.log.keeper import LogForeignError, SoundLog

SOUND = SoundLog(epoch="e1", first_sequence=1, last_sequence=2)


@pytest.mark.parametrize(
    "failure",
    [
        BusUnavailableError("away"),
        LogUnavailableError("lost"),
        AppendRefusedError(10077, "maximum bytes exceeded"),
    ],
)
async def test_a_check_that_fails_is_made_again(failure: Exception) -> None:
    failures = [failure]

    async def check() -> SoundLog:
        if failures:
            raise failures.pop()
        return SOUND

    guard = LogGuard(check)
    running = asyncio.create_task(guard.run())
    async with asyncio.timeout(10):
        assert await guard.epoch() == "e1"
    assert guard.is_sound
    running.cancel()


async def test_the_log_of_another_database_is_not_waited_for() -> None:
    async def check() -> SoundLog:
        raise LogForeignError("of another")

    with pytest.raises(LogForeignError):
        await LogGuard(check).run()
