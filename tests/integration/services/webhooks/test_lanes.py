"""Lanes under operators, several workers, and a log that lost its consumer or itself."""

import asyncio
import functools

import pytest

from services.webhooks.settings import WebhookSettings
from shared.store.lane_admin import pause_lane, resume_lane, resync_lane
from tests.support.eventually import eventually
from tests.support.webhook_sink import Behaviour, Manner, WebhookSink, webhook_sink
from tests.support.webhook_told import is_converged, newest, told
from tests.support.webhooks import WebhookBench

pytestmark = pytest.mark.integration

FAST = WebhookSettings(answer_seconds_max=1.0, lease_seconds=3.0)


async def test_a_lane_that_is_resynchronised_is_told_everything(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    async with bench.worker() as worker:
        await bench.change(user.account_id, "Email")
        await bench.change(user.account_id, "Mailbox")
        await eventually(lambda: newest(sink, "/a").get(user.account_id, {}).get("Mailbox"))
        await eventually(lambda: is_converged(bench, subscription))

        await resync_lane(bench.pool, subscription)
        worker.wake()
        count = len(sink.posts)
        await eventually(lambda: len(sink.posts) > count)

    assert told(sink, "/a")[-1] == {user.account_id: {"Email": "s1", "Mailbox": "s1"}}


async def test_a_paused_lane_is_told_what_it_missed_when_it_is_resumed(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user, other = await bench.user(), await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    await bench.subscribe(other, sink.url("/b"))
    await pause_lane(bench.pool, subscription)
    async with bench.worker():
        await bench.change(user.account_id)
        await bench.change(other.account_id)
        await eventually(lambda: told(sink, "/b"))
        assert not told(sink, "/a")

        await resume_lane(bench.pool, subscription)
        await eventually(lambda: told(sink, "/a"))

    assert told(sink, "/a") == [{user.account_id: {"Email": "s1"}}]


async def test_several_workers_share_the_lanes(bench: WebhookBench, sink: WebhookSink) -> None:
    users = [await bench.user() for _ in range(20)]
    lanes = [await bench.subscribe(user, sink.url(f"/{place}")) for place, user in enumerate(users)]
    async with bench.worker(), bench.worker(), bench.worker():
        for _ in range(10):
            for user in users:
                await bench.change(user.account_id)
        for lane in lanes:
            await eventually(functools.partial(is_converged, bench, lane))

    for place, user in enumerate(users):
        assert newest(sink, f"/{place}") == {user.account_id: {"Email": "s10"}}


async def test_an_end_that_the_database_refuses_holds_up_no_other(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    users = [await bench.user() for _ in range(5)]
    lanes = [await bench.subscribe(user, sink.url(f"/{place}")) for place, user in enumerate(users)]
    refused = f"subscription_id <> '{lanes[2]}' OR kind <> 'push'"
    await bench.pool.execute(f"ALTER TABLE delivery_attempts ADD CHECK ({refused})")
    async with bench.worker():
        await asyncio.gather(*(bench.change(user.account_id) for user in users))
        for lane in lanes:
            await eventually(functools.partial(is_converged, bench, lane))

    written = await bench.pool.fetch(
        "SELECT subscription_id FROM delivery_attempts WHERE kind = 'push'"
    )
    assert {row["subscription_id"] for row in written} == {*lanes} - {lanes[2]}


async def test_a_lost_consumer_is_made_up_for(bench: WebhookBench, sink: WebhookSink) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    async with bench.worker():
        await bench.change(user.account_id)
        await eventually(lambda: told(sink, "/a"))
    await bench.change(user.account_id)
    await bench.log.bus.request("$JS.API.CONSUMER.DELETE.STATE.webhooks", b"", timeout_seconds=5)

    async with bench.worker():
        await eventually(lambda: len(told(sink, "/a")) == 2)
        await eventually(lambda: is_converged(bench, subscription))

    assert told(sink, "/a")[1] == {user.account_id: {"Email": "s2"}}


async def test_a_rebuilt_log_tells_everything_once_more_and_nothing_older(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    async with bench.worker():
        await bench.change(user.account_id)
        await eventually(lambda: told(sink, "/a"))
        await bench.pool.execute(
            "INSERT INTO type_states (account_id, type, state, ord) VALUES ($1, 'Email', 's1', 1)",
            user.account_id,
        )

        await bench.log.keeper.rebuild()
        bench.log.appender.forget()
        await bench.change(user.account_id)
        await eventually(
            lambda: newest(sink, "/a").get(user.account_id, {}).get("Email") == "s2", seconds=20
        )
        await eventually(lambda: is_converged(bench, subscription))


async def test_black_holes_leave_room_at_their_origin_for_who_answers(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user, other = await bench.user(), await bench.user()
    for number in range(8):
        sink.behave(f"/hole{number}", Behaviour(manner=Manner.BLACK_HOLE))
        await bench.subscribe(user, sink.url(f"/hole{number}"))
    await bench.subscribe(other, sink.url("/good"))
    settings = WebhookSettings(answer_seconds_max=3.0, origin_at_once_max=8)
    async with bench.worker(settings):
        await bench.change(user.account_id)
        await eventually(lambda: len(sink.posts) == 8)
        holes = sink.posts[-1].at
        for count in range(1, 4):
            await bench.change(other.account_id)
            await eventually(functools.partial(has_posts, sink, "/good", count), seconds=5)
        assert sink.posts_to("/good")[-1].at - holes < 3


async def test_who_failed_once_does_not_wait_for_black_holes(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user, other = await bench.user(), await bench.user()
    for number in range(4):
        sink.behave(f"/hole{number}", Behaviour(manner=Manner.BLACK_HOLE))
        await bench.subscribe(user, sink.url(f"/hole{number}"))
    await bench.change(user.account_id)
    blip = await bench.subscribe(other, sink.url("/blip"))
    sink.behave("/blip", Behaviour(status=500), Behaviour())
    await bench.pool.execute("UPDATE lanes SET failures = 1 WHERE subscription_id <> $1", blip)
    settings = WebhookSettings(answer_seconds_max=8.0, troubled_at_once_max=2)
    async with bench.worker(settings):
        await eventually(lambda: len(sink.posts) == 4)
        holes = sink.posts[0].at
        await bench.change(other.account_id)
        await eventually(functools.partial(has_posts, sink, "/blip", 2))
        assert sink.posts_to("/blip")[-1].at - holes < 7


async def test_an_origin_with_many_that_wait_holds_up_no_other(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """They are due for longer than the one of another origin, and more than are claimed at once."""
    user, other = await bench.user(), await bench.user()
    for number in range(120):
        sink.behave(f"/{number}", Behaviour(delay_seconds=0.3))
        await bench.subscribe(user, sink.url(f"/{number}"))
    with webhook_sink() as elsewhere:
        await bench.subscribe(other, elsewhere.url("/good"))
        await bench.change(user.account_id)
        await bench.change(other.account_id)
        async with bench.worker(WebhookSettings(origin_at_once_max=2)):
            await eventually(lambda: elsewhere.posts, seconds=5)
            assert len(sink.posts) < 60
            await bench.pool.execute("UPDATE lanes SET paused_at = now(), due_at = NULL")


def has_posts(sink: WebhookSink, path: str, count: int) -> bool:
    return len(sink.posts_to(path)) >= count
