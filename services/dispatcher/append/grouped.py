"""What many ask for, done together: while one group is worked on, the next one gathers.

No timer: a lone item is worked on at once, and under load a group is as large as it has to be.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

Work = Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]]
"""The answers are in the order of the items."""


class Grouped(Generic[Item, Answer]):
    """`run` it in the process's task group; what waits is bounded by who asks."""

    def __init__(
        self,
        work: Work[Item, Answer],
        failures: tuple[type[Exception], ...],
        *,
        items_max: int,
        seconds_max: float,
    ) -> None:
        """One of `failures`, or the end of the time, fails each item of the group."""
        self._work = work
        self._failures: tuple[type[Exception], ...] = (*failures, TimeoutError)
        self._items_max = items_max
        self._seconds_max = seconds_max
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._arrived = asyncio.Event()

    async def answer(self, item: Item) -> Answer:
        """Raises what the work raised. Whoever gives up before its turn has asked for nothing."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                group, self._waiting = (
                    self._waiting[: self._items_max],
                    self._waiting[self._items_max :],
                )
                wanted = [(item, answer) for item, answer in group if not answer.done()]
                if wanted:
                    await self._do(wanted)

    async def _do(self, group: Sequence[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        try:
            async with asyncio.timeout(self._seconds_max):
                answers = await self._work([item for item, _ in group])
        except self._failures as error:
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(error)
            return
        for (_, answer), result in zip(group, answers, strict=True):
            if not answer.done():
                answer.set_result(result)
