"""What an endpoint is told, and when: a real log, a real store, a real endpoint."""

from datetime import datetime, timedelta

import pytest

from services.webhooks.settings import WebhookSettings
from shared.runtime.clock import SystemClock
from shared.web_push.subscription_keys import parse_subscription_keys
from tests.support.eventually import eventually
from tests.support.webhook_sink import Behaviour, Manner, WebhookSink
from tests.support.webhook_told import is_converged, is_failing, is_gone, newest, told
from tests.support.webhooks import WebhookBench

pytestmark = pytest.mark.integration

FAST = WebhookSettings(answer_seconds_max=1.0, lease_seconds=3.0)


async def test_a_change_is_posted_as_a_state_change(bench: WebhookBench, sink: WebhookSink) -> None:
    user = await bench.user()
    await bench.subscribe(user, sink.url("/a"))

    async with bench.worker():
        await bench.change(user.account_id, "Email", "Mailbox")
        await eventually(lambda: told(sink, "/a"))

    assert told(sink, "/a") == [{user.account_id: {"Email": "s1", "Mailbox": "s1"}}]
    [post] = sink.posts
    assert post.method == "POST"
    assert post.headers["content-type"] == "application/json"
    assert int(post.headers["ttl"]) > 0


async def test_only_the_types_asked_for_are_told(bench: WebhookBench, sink: WebhookSink) -> None:
    """P-16: other types are left out, and a change of them alone is no push."""
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"), types=["Email"])

    async with bench.worker():
        await bench.change(user.account_id, "Mailbox")
        await bench.change(user.account_id, "Email", "Thread")
        await eventually(lambda: told(sink, "/a"))

    assert told(sink, "/a") == [{user.account_id: {"Email": "s1"}}]
    lane = await bench.lane(subscription)
    assert lane["cursor"] >= lane["target"]


async def test_others_accounts_are_not_told(bench: WebhookBench, sink: WebhookSink) -> None:
    user, other = await bench.user(), await bench.user()
    await bench.subscribe(user, sink.url("/a"))
    await bench.subscribe(other, sink.url("/b"))

    async with bench.worker():
        await bench.change(other.account_id)
        await eventually(lambda: told(sink, "/b"))
        await bench.change(user.account_id)
        await eventually(lambda: told(sink, "/a"))

    assert told(sink, "/a") == [{user.account_id: {"Email": "s1"}}]
    assert told(sink, "/b") == [{other.account_id: {"Email": "s1"}}]


async def test_what_happened_while_nobody_worked_is_told_as_one_message(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    async with bench.worker():
        await bench.change(user.account_id)
        await eventually(lambda: told(sink, "/a"))

    for _ in range(30):
        await bench.change(user.account_id)
    await bench.change(user.account_id, "Mailbox")
    async with bench.worker():
        await eventually(lambda: len(told(sink, "/a")) > 1)
        await eventually(lambda: is_converged(bench, subscription))

    assert told(sink, "/a")[1:] == [{user.account_id: {"Email": "s31", "Mailbox": "s1"}}]


async def test_a_failing_endpoint_is_told_the_newest_state_when_it_recovers(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    sink.behave("/a", Behaviour(status=500), Behaviour(status=500, body=b"no"), Behaviour())

    async with bench.worker(FAST):
        await bench.change(user.account_id)
        await eventually(lambda: len(told(sink, "/a")) == 1)
        await bench.change(user.account_id)
        await eventually(lambda: is_converged(bench, subscription), seconds=20)

    assert told(sink, "/a")[-1] == {user.account_id: {"Email": "s2"}}
    assert len(told(sink, "/a")) == 3
    lane = await bench.lane(subscription)
    assert (lane["failures"], lane["failing_since"], lane["behind_since"]) == (0, None, None)


@pytest.mark.parametrize("minutes", [-30, 30])
async def test_a_worker_whose_clock_is_wrong_waits_as_long_as_any(
    minutes: int, bench: WebhookBench, sink: WebhookSink
) -> None:
    """Neither at once, again and again, nor half an hour later."""

    class WrongClock(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(minutes=minutes)

    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    sink.behave("/a", Behaviour(status=503, headers={"Retry-After": "2"}), Behaviour())
    async with bench.worker(FAST, clock=WrongClock()):
        await bench.change(user.account_id)
        await eventually(lambda: is_converged(bench, subscription), seconds=20)

    first, second = sink.posts
    assert second.at - first.at >= 2


async def test_what_a_failed_request_told_is_never_taken_back(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """It may have been heard: the next read is no older, whatever replica or memory it is of."""
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"), types=["Email"])
    sink.behave("/a", Behaviour(manner=Manner.CLOSE))
    await bench.change(user.account_id, "Email")
    await bench.change(user.account_id, "Mailbox")  # not merged into this lane, but read

    async with bench.worker(FAST):
        await eventually(lambda: is_failing(bench, subscription))

    lane = await bench.lane(subscription)
    assert lane["target"] == await bench.newest_sequence(subscription)


async def test_a_change_during_a_request_is_told_after_it(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """One request at a time per lane, and the lane is due again when something came meanwhile."""
    user = await bench.user()
    await bench.subscribe(user, sink.url("/a"))
    sink.behave("/a", Behaviour(delay_seconds=0.7), Behaviour())

    async with bench.worker():
        await bench.change(user.account_id)
        await eventually(lambda: told(sink, "/a"))
        for _ in range(3):
            await bench.change(user.account_id)
        await eventually(lambda: len(told(sink, "/a")) > 1)

    first, second = sink.posts
    assert second.at - first.at > 0.6
    assert told(sink, "/a")[1] == {user.account_id: {"Email": "s4"}}


@pytest.mark.parametrize("status", [404, 410])
async def test_an_endpoint_that_is_gone_ends_its_subscription(
    bench: WebhookBench, sink: WebhookSink, status: int
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    sink.behave("/a", Behaviour(status=status))

    async with bench.worker():
        await bench.change(user.account_id)
        await eventually(lambda: is_gone(bench, subscription))
        await bench.change(user.account_id)

    assert len(sink.posts) == 1
    for table in ("lanes", "push_subscription_keys", "delivery_attempts"):
        assert await bench.pool.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_retry_after_is_obeyed_and_429_makes_pushes_fewer(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """P-18: 429 must reduce the push frequency."""
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    sink.behave("/a", Behaviour(status=429, headers={"Retry-After": "2"}), Behaviour())

    async with bench.worker():
        await bench.change(user.account_id)
        await eventually(lambda: told(sink, "/a"))
        await eventually(lambda: is_failing(bench, subscription))
        assert (await bench.lane(subscription))["window_ms"] == 1000
        await bench.change(user.account_id)
        await eventually(lambda: len(told(sink, "/a")) == 2)

    first, second = sink.posts
    assert second.at - first.at >= 1.9
    assert told(sink, "/a")[1] == {user.account_id: {"Email": "s2"}}


async def test_a_message_too_large_is_split_and_nothing_is_told_twice(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"))
    sink.behave("/a", Behaviour(status=413), Behaviour())

    async with bench.worker():
        await bench.change(user.account_id, "Email", "Mailbox", "Thread")
        await eventually(lambda: is_converged(bench, subscription))

    whole, *parts = told(sink, "/a")
    assert whole == {user.account_id: dict.fromkeys(("Email", "Mailbox", "Thread"), "s1")}
    assert len(parts) == 2
    assert {**parts[0][user.account_id], **parts[1][user.account_id]} == whole[user.account_id]
    assert not parts[0][user.account_id].keys() & parts[1][user.account_id].keys()


async def test_a_split_message_that_breaks_goes_on_where_it_broke(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    user, other = await bench.user(), await bench.user()
    await bench.pool.execute(
        "INSERT INTO grants (account_id, user_id, role) VALUES ($1, $2, 'read')",
        other.account_id,
        user.id,
    )
    subscription = await bench.subscribe(user, sink.url("/a"))
    await bench.change(user.account_id, *(f"Type{number}" for number in range(30)))
    await bench.change(other.account_id, *(f"Type{number}" for number in range(30)))
    sink.behave("/a", Behaviour(), Behaviour(status=500), Behaviour())

    async with bench.worker(WebhookSettings(message_octets_max=600)):
        await eventually(lambda: is_converged(bench, subscription), seconds=20)

    known = newest(sink, "/a")
    assert {name: len(states) for name, states in known.items()} == {
        user.account_id: 30,
        other.account_id: 30,
    }
    first, broken, again = told(sink, "/a")[:3]
    assert again in (broken, first)  # an account that was not complete is told whole


async def test_a_black_hole_costs_its_own_time_only(bench: WebhookBench, sink: WebhookSink) -> None:
    user, other = await bench.user(), await bench.user()
    hole = await bench.subscribe(user, sink.url("/hole"))
    await bench.subscribe(other, sink.url("/b"))
    sink.behave("/hole", Behaviour(manner=Manner.BLACK_HOLE))

    async with bench.worker(FAST):
        await bench.change(user.account_id)
        await eventually(lambda: sink.posts_to("/hole"))
        await bench.change(other.account_id)
        await eventually(lambda: told(sink, "/b"), seconds=0.9)
        await eventually(lambda: is_failing(bench, hole))

    assert (await bench.lane(hole))["failures"] == 1


async def test_a_message_that_replaces_others_says_everything(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """RFC 8030 section 5.4: what is not delivered yet is dropped for a later one of its topic."""
    user, other = await bench.user(), await bench.user()
    given = parse_subscription_keys(**sink.subscribe("/a").keys)
    await bench.subscribe(user, sink.url("/a"), keys=(given.p256dh, given.auth))
    await bench.subscribe(other, sink.url("/b"))

    async with bench.worker(WebhookSettings(topics=True)):
        await bench.change(user.account_id, "Email")
        await eventually(lambda: told(sink, "/a"))
        await bench.change(user.account_id, "Mailbox")
        await bench.change(other.account_id)
        await eventually(lambda: len(told(sink, "/a")) == 2)
        await eventually(lambda: told(sink, "/b"))

    assert told(sink, "/a") == [
        {user.account_id: {"Email": "s1"}},
        {user.account_id: {"Email": "s1", "Mailbox": "s1"}},
    ]
    first, second = (post.headers["topic"] for post in sink.posts_to("/a"))
    assert first == second
    assert len(first) <= 32
    assert "topic" not in sink.posts_to("/b")[0].headers  # nobody in between, nothing to replace
