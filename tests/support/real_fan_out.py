"""The real log and its fan-out, on servers that a test gives."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.gateway.fan_out import FanOut
from shared.log.event import Cause, OrderedState
from shared.log.open_log import ReadableLog, WritableLog, open_readable_log, open_writable_log
from shared.runtime.clock import now_utc_text
from shared.store.pool import open_pool


class RealLog:
    """`append` returns when the event is stored; listeners hear of it later."""

    def __init__(self, writable: WritableLog, readable: ReadableLog, fan_out: FanOut) -> None:
        self.writable = writable
        self.readable = readable
        self.fan_out = fan_out
        self._orders = itertools.count(1)

    async def append(self, account_id: str, **states: str) -> int:
        await self.writable.guard.epoch()
        order = next(self._orders)
        ordered = {name: OrderedState(state, order) for name, state in states.items()}
        return await self.writable.appender.append(
            account_id, ordered, at=now_utc_text(), cause=Cause()
        )

    async def append_and_pass_on(self, account_id: str, **states: str) -> None:
        """Returns when the fan-out has passed it on."""
        await self.readable.tail.reached(await self.append(account_id, **states))


@asynccontextmanager
async def real_log(nats_url: str, dsn: str) -> AsyncIterator[RealLog]:
    async with (
        open_pool(dsn) as pool,
        open_writable_log(nats_url, pool, name="test") as writable,
        open_readable_log(nats_url, pool, name="test") as readable,
        asyncio.TaskGroup() as tasks,
    ):
        guarding = tasks.create_task(writable.guard.run())
        await writable.guard.epoch()
        fan_out = FanOut(readable.tail, readable.reader, readable.keeper.verify)
        readable.on_doubt(fan_out.doubt)
        following = tasks.create_task(fan_out.run())
        try:
            yield RealLog(writable, readable, fan_out)
        finally:
            guarding.cancel()
            following.cancel()
