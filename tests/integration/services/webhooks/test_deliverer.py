"""How a worker goes on while the log stalls, and how it finds work for all of its slots."""

import asyncio
from collections.abc import Collection

import asyncpg
import pytest

from services.webhooks.deliverer import Deliverer
from services.webhooks.settings import WebhookSettings
from services.webhooks.teller import Teller, Telling, put_off
from shared.log.batched_reader import BatchedReader
from shared.log.reader import Snapshot
from shared.runtime.clock import SystemClock
from shared.runtime.metrics import Metrics
from shared.store.lanes import ClaimedLane
from shared.store.waits import WaitsFor
from tests.support.eventually import eventually
from tests.support.webhook_sink import Behaviour, Manner, WebhookSink, webhook_sink
from tests.support.webhooks import WebhookBench

pytestmark = pytest.mark.integration


class StuckLog:
    """A reader that never comes back, as when the server stopped in the middle of an answer."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot:
        del account_ids, after, fence
        self.reads += 1
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_log_that_stalls_puts_every_lane_off_for_seconds(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """Also those whose read waits behind others, in a batch that somebody else gives up."""
    for number in range(12):
        await bench.subscribe(await bench.user(), sink.url(f"/{number}"))
    stuck = StuckLog()
    async with bench.worker(reader=BatchedReader(stuck)) as worker:
        await bench.pool.execute("UPDATE lanes SET target = 1, due_at = now()")
        worker.wake()
        lanes = await eventually(lambda: lanes_put_off(bench, 12), seconds=15)

    assert stuck.reads < 12  # the others waited behind them
    assert {lane["waits_for"] for lane in lanes} == {"log_away"}
    assert all(0 < lane["seconds"] < 5 for lane in lanes)


async def lanes_put_off(bench: WebhookBench, count: int) -> list[asyncpg.Record]:
    """The lanes, once all of them were looked at."""
    lanes = await bench.pool.fetch(
        """
        SELECT waits_for, extract(epoch FROM due_at - now())::float AS seconds
        FROM lanes WHERE waits_for IS NOT NULL
        """
    )
    return lanes if len(lanes) == count else []


async def test_lanes_that_failed_are_tried_as_soon_as_there_is_room(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """When the outage of an origin is over they are many, and a poll is twice a second."""
    user = await bench.user()
    for number in range(60):
        await bench.subscribe(user, sink.url(f"/{number}"))
    await bench.change(user.account_id)
    await bench.pool.execute("UPDATE lanes SET failures = 1")
    async with bench.worker(WebhookSettings(troubled_at_once_max=2)):
        await eventually(lambda: len(sink.posts) == 60, seconds=40)

    assert sink.posts[-1].at - sink.posts[0].at < 10  # by polls alone it would be 14.5


async def test_a_single_free_slot_is_used_while_all_others_are_held(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user, other = await bench.user(), await bench.user()
    await bench.subscribe(other, sink.url("/good"))
    with webhook_sink() as hole:
        for number in range(4):
            hole.behave(f"/{number}", Behaviour(manner=Manner.BLACK_HOLE))
            await bench.subscribe(user, hole.url(f"/{number}"))
        settings = WebhookSettings(healthy_at_once_max=5, slow_at_once_max=0)
        async with bench.worker(settings):
            await bench.change(user.account_id)
            await eventually(lambda: len(hole.posts) == 4)
            await bench.change(other.account_id)
            post = (await eventually(lambda: sink.posts, seconds=20))[0]
            assert post.at - hole.posts[0].at < settings.answer_seconds_max - 1
            hole.stop()


async def test_lanes_claimed_ahead_take_no_more_than_the_slots(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user, seconds = await bench.user(), 0.03
    for number in range(60):
        sink.behave(f"/{number}", Behaviour(delay_seconds=seconds))
        await bench.subscribe(user, sink.url(f"/{number}"))
    await bench.change(user.account_id)
    async with bench.worker(WebhookSettings(healthy_at_once_max=4)):
        await eventually(lambda: len(sink.posts) == 60, seconds=20)

    begun = [post.at for post in sink.posts]
    assert max(sum(at <= other < at + seconds for other in begun) for at in begun) <= 4


class HeldUp(Teller):
    """A teller who puts lanes off, and from some time on comes to no end."""

    def __init__(self, quick: int) -> None:
        self.quick = quick
        self.goes_on = asyncio.Event()

    async def tell(self, lane: ClaimedLane, leased_until: float) -> Telling:
        del leased_until
        self.quick -= 1
        if self.quick < 0:
            await self.goes_on.wait()
        return put_off(lane, 60.0, WaitsFor.BACKOFF)


@pytest.mark.parametrize("does_stop", [False, True])
async def test_lanes_claimed_ahead_are_left_to_others_when_all_slots_are_held_up(
    bench: WebhookBench, *, does_stop: bool
) -> None:
    """After a second; at once, when the worker stops."""
    for number in range(12):
        await bench.subscribe(await bench.user(), f"http://127.0.0.1:9/{number}")
    await bench.pool.execute("UPDATE lanes SET target = 1, due_at = now()")
    teller, draining = HeldUp(quick=6), asyncio.Event()
    settings = WebhookSettings(healthy_at_once_max=4, slow_at_once_max=0)
    deliverer = Deliverer(bench.pool, teller, settings, SystemClock(), Metrics())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deliverer.run(draining))
        await eventually(lambda: leased(bench, 6), what="nothing was claimed ahead")
        if does_stop:
            draining.set()
        await eventually(lambda: leased(bench, 4))
        teller.goes_on.set()
        draining.set()

    left = await bench.pool.fetch("SELECT due_at <= now() AS is_due, waits_for FROM lanes")
    assert sum(lane["waits_for"] == "slot" and lane["is_due"] for lane in left) == 2
    assert sum(lane["waits_for"] == "backoff" for lane in left) == 10


async def leased(bench: WebhookBench, count: int) -> bool:
    found = await bench.pool.fetchval("SELECT count(*) FROM lanes WHERE lease IS NOT NULL")
    return bool(found == count)
