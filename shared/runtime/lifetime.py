"""The life of a process: it drains when it is told to end."""

import asyncio
import signal
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress


def draining_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; every loop and every open connection watches it."""
    draining = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, draining.set)
    return draining


async def finished_after(
    draining: asyncio.Event, seconds: float, works: Iterable[Coroutine[None, None, None]]
) -> None:
    """Run `works`, which end by themselves after `draining`; cut short `seconds` after it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as tasks:
            for work in works:
                tasks.create_task(work)
            await draining.wait()
            limit.reschedule(asyncio.get_running_loop().time() + seconds)


class CutShortError(Exception):
    """The process was told to end before it had started."""


@asynccontextmanager
async def cut_short_by(event: asyncio.Event) -> AsyncIterator[None]:
    """Break off what is inside as soon as `event` is set.

    Raises:
        CutShortError: it was.
    """
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout(None)
    try:
        async with limit:
            watching = loop.create_task(event.wait())
            watching.add_done_callback(
                lambda done: None if done.cancelled() else limit.reschedule(loop.time())
            )
            try:
                yield
            finally:
                watching.cancel()
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise CutShortError from error
