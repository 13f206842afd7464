"""How a process itself is: what runs, what it logs, whether its loop is late, whether it ends."""

import asyncio
import platform
from importlib.metadata import version

from shared.runtime.logs import lines_logged
from shared.runtime.metrics import Metric, Metrics

_LOOK_SECONDS = 0.25
_LEVELS = ("warning", "error", "critical", "dropped")


def watch_process(metrics: Metrics, draining: asyncio.Event) -> None:
    """On its running loop, until `draining`; call it once."""
    metrics.set(Metric.BUILD_INFO, 1, version=version("tidings"), python=platform.python_version())

    def sample() -> None:
        metrics.set(Metric.DRAINING, float(draining.is_set()))
        for level in {*_LEVELS, *lines_logged()}:  # from 0 on, so that the first one is an increase
            metrics.total(Metric.LOG_LINES, lines_logged().get(level, 0), level=level)

    metrics.on_scrape(sample)
    _look_at_loop(metrics, draining)


def _look_at_loop(metrics: Metrics, draining: asyncio.Event) -> None:
    """A timer and not a task: it needs no owner, and costs 4 looks a second."""
    loop = asyncio.get_running_loop()

    def look(due: float) -> None:
        metrics.observe(Metric.LOOP_LAG_SECONDS, max(0.0, loop.time() - due))
        if not draining.is_set():
            again = loop.time() + _LOOK_SECONDS
            loop.call_at(again, look, again)

    first = loop.time() + _LOOK_SECONDS
    loop.call_at(first, look, first)
