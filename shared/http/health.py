"""`/health/live`, `/health/ready` and `/metrics`, the same on every process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.jmap.i_json import encode_json
from shared.runtime.metrics import CONTENT_TYPE, Metric, Metrics
from shared.runtime.vitals import watch_process

_CHECK_SECONDS = 3


def health_routes(
    checks: Mapping[str, Callable[[], Awaitable[object]]],
    draining: asyncio.Event,
    metrics: Metrics,
) -> list[Route]:
    """Ready while not draining and no check raises; `checks` are the process's dependencies.

    Call it on the loop that serves them: it also watches that.
    """
    watch_process(metrics, draining)

    async def live(_: Request) -> Response:
        return _json({"status": "live"}, 200)

    async def faults_now() -> dict[str, str]:
        names = list(checks)
        found = await asyncio.gather(*(_fault(checks[name]) for name in names))
        faults = {name: fault for name, fault in zip(names, found, strict=True) if fault}
        for name in names:
            metrics.set(Metric.READY, float(name not in faults), check=name)
        return faults

    async def ready(_: Request) -> Response:
        faults = await faults_now()
        if draining.is_set():
            return _json({"status": "draining"}, 503)
        return _json({"status": "unready", "faults": faults}, 503) if faults else _READY

    async def metrics_text(_: Request) -> Response:
        await faults_now()
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics_text),
    ]


async def _fault(check: Callable[[], Awaitable[object]]) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await check()
    except Exception as error:  # noqa: BLE001 - whatever a dependency raises, it is not ready
        return f"{type(error).__name__}: {error}"[:200]
    return None


def _json(body: object, status: int) -> Response:
    return Response(encode_json(body), status, media_type="application/json")


_READY = _json({"status": "ready"}, 200)
