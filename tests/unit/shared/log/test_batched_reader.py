"""Reads that come together are one, and each gets its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import asynccontextmanager

import pytest

from shared.log.appender import LogUnavailableError
from shared.log.batched_reader import BatchedReader
from shared.log.event import Event, OrderedState, StoredEvent
from shared.log.reader import Snapshot


class Reader:
    def __init__(self) -> None:
        self.asked: list[tuple[list[str], int, int]] = []
        self.answers: list[asyncio.Future[int]] = []

    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot:
        self.asked.append((sorted(account_ids), after, fence))
        self.answers.append(asyncio.get_running_loop().create_future())
        up_to = await self.answers[-1]
        return Snapshot({account_id: _event(account_id) for account_id in account_ids}, up_to)


def _event(account_id: str) -> StoredEvent:
    """Account a7's last event is 7."""
    sequence = int(account_id[1:])
    return StoredEvent(
        sequence, Event(changed={"Email": OrderedState("s1", 1)}, unchanged={}, at="")
    )


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def busy() -> AsyncIterator[tuple[Reader, BatchedReader, asyncio.TaskGroup]]:
    """All turns are taken, each by a read of its own; `reader.answers` has theirs first."""
    reader = Reader()
    batched = BatchedReader(reader)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for n in range(4):
            group.create_task(batched.read([f"a{n}"], after=1, fence=0))
            await _turns()
        assert len(reader.asked) == 4
        yield reader, batched, group
        for _ in range(5):
            for answer in reader.answers:
                if not answer.done():
                    answer.set_result(0)
            await _turns()


async def free_turns(reader: Reader) -> None:
    for answer in reader.answers[:4]:
        answer.set_result(20)
    await _turns()


async def test_what_waits_for_a_turn_is_read_together_and_told_apart() -> None:
    async with busy() as (reader, batched, group):
        first = group.create_task(batched.read(["a5", "a6"], after=5, fence=8))
        second = group.create_task(batched.read(["a6", "a7"], after=3, fence=9))
        whole = group.create_task(batched.read(["a9"], after=0, fence=1))
        await _turns()
        await free_turns(reader)
        for answer in reader.answers[4:]:
            answer.set_result(30)

    assert reader.asked[4:] == [(["a5", "a6", "a7"], 3, 9), (["a9"], 0, 1)]
    assert first.result() == Snapshot({"a6": _event("a6")}, 30)
    assert second.result() == Snapshot({"a6": _event("a6"), "a7": _event("a7")}, 30)
    assert whole.result() == Snapshot({"a9": _event("a9")}, 30)


async def test_a_batch_has_room_for_one_request_only() -> None:
    async with busy() as (reader, batched, group):
        for start in (0, 60, 120):
            accounts = [f"a{n}" for n in range(start, start + 60)]
            group.create_task(batched.read(accounts, after=1, fence=0))
            await _turns()
        await free_turns(reader)

    assert [len(accounts) for accounts, _, _ in reader.asked[4:]] == [60, 60, 60]


@pytest.mark.parametrize("is_cancelled", [True, False])
async def test_a_leader_that_fails_fails_all_who_follow(is_cancelled: bool) -> None:  # noqa: FBT001
    async with busy() as (reader, batched, group):
        leader = group.create_task(_outcome(batched.read(["a1"], after=1, fence=0)))
        await _turns()
        follower = group.create_task(_outcome(batched.read(["a2"], after=1, fence=0)))
        await _turns()
        if is_cancelled:
            leader.cancel()
            await _turns()
        else:
            await free_turns(reader)
            reader.answers[4].set_exception(LogUnavailableError("no answer"))
        later = group.create_task(_outcome(batched.read(["a3"], after=1, fence=0)))
        await _turns()

    assert isinstance(follower.result(), LogUnavailableError)
    assert isinstance(later.result(), Snapshot)


async def test_a_follower_that_goes_takes_nothing_with_it() -> None:
    async with busy() as (reader, batched, group):
        leader = group.create_task(batched.read(["a2"], after=1, fence=0))
        await _turns()
        gone = group.create_task(_outcome(batched.read(["a3"], after=1, fence=0)))
        stays = group.create_task(batched.read(["a4"], after=1, fence=0))
        await _turns()
        gone.cancel()
        await free_turns(reader)

    assert leader.result().events.keys() == {"a2"}
    assert stays.result().events.keys() == {"a4"}


async def _outcome(reading: Awaitable[Snapshot]) -> object:
    try:
        return await reading
    except (asyncio.CancelledError, LogUnavailableError) as error:
        return error
