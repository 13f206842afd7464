"""Keeps a child running: starts it, starts it again with backoff when it died, stops it."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.cli.embedded.child import Child, ChildSpec
from shared.runtime.errors import CouldNotStartError

_log = logging.getLogger(__name__)

_POLL_SECONDS = 0.05
_BACKOFF_SECONDS_FIRST = 0.1
_BACKOFF_SECONDS_MAX = 10.0
_STEADY_SECONDS = 30.0  # after that long in service the backoff begins anew


@asynccontextmanager
async def supervised(spec: ChildSpec, *, start_seconds: float) -> AsyncIterator[Child]:
    """A child that serves when this returns, and is started again whenever it dies.

    Raises:
        CouldNotStartError: it ended, or did not serve within `start_seconds`.
    """
    child = Child(spec)
    try:
        await _start(child, start_seconds)
        # Not in the TaskGroup of the composition root: this outlives that group, whose members
        # still write to the server while they drain.
        keeping = asyncio.get_running_loop().create_task(_keep_alive(child, start_seconds))
        try:
            yield child
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await asyncio.shield(asyncio.to_thread(child.stop))


async def _start(child: Child, start_seconds: float) -> None:
    # In this thread: the kernel ties the child to the thread that started it.
    child.start()
    try:
        async with asyncio.timeout(start_seconds):
            while not await asyncio.to_thread(child.is_ready):
                if child.exit_code() is not None:
                    raise CouldNotStartError(
                        f"{child.spec.name} ended at its start: {child.last_words()} "
                        f"(log: {child.spec.log_path})"
                    )
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        await asyncio.to_thread(child.stop)
        raise CouldNotStartError(
            f"{child.spec.name} did not serve within {start_seconds:.0f} seconds; "
            f"its log is {child.spec.log_path}"
        ) from error


async def _keep_alive(child: Child, start_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    backoff_seconds = _BACKOFF_SECONDS_FIRST
    serving_since = loop.time()
    while True:
        while child.exit_code() is None:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(_POLL_SECONDS)
        if loop.time() - serving_since > _STEADY_SECONDS:
            backoff_seconds = _BACKOFF_SECONDS_FIRST
        _log.warning(
            "embedded_server_died",
            extra={
                "server": child.spec.name,
                "exit_code": child.exit_code(),
                "restart_in_seconds": backoff_seconds,
            },
        )
        await asyncio.sleep(backoff_seconds)
        backoff_seconds = min(_BACKOFF_SECONDS_MAX, backoff_seconds * 2)
        try:
            await _start(child, start_seconds)
        except (CouldNotStartError, OSError) as error:
            _log.error(
                "embedded_server_not_restarted",
                extra={"server": child.spec.name, "reason": str(error)},
            )
        else:
            _log.warning(
                "embedded_server_restarted", extra={"server": child.spec.name, "pid": child.pid}
            )
        serving_since = loop.time()
