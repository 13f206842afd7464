"""What must not be sent: access, ends and verification are looked at when a push leaves."""

import json
from datetime import timedelta

import pytest

from services.webhooks.settings import WebhookSettings
from shared.store.credentials import revoke_token
from shared.store.people import remove_grant
from tests.support.eventually import eventually
from tests.support.webhook_sink import Behaviour, WebhookSink
from tests.support.webhook_told import is_converged, is_gone, is_merged, told
from tests.support.webhooks import WebhookBench

pytestmark = pytest.mark.integration

FAST = WebhookSettings(answer_seconds_max=1.0, lease_seconds=3.0)


async def test_a_revoked_grant_stops_pushes_of_events_before_it(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """Access is checked when a push leaves, not when it was queued."""
    user, other = await bench.user(), await bench.user()
    await bench.pool.execute(
        "INSERT INTO grants (account_id, user_id, role) VALUES ($1, $2, 'read')",
        other.account_id,
        user.id,
    )
    subscription = await bench.subscribe(user, sink.url("/a"))
    sink.behave("/a", Behaviour(status=500), Behaviour())

    async with bench.worker():
        await bench.change(other.account_id)
        await eventually(lambda: told(sink, "/a"))
        await remove_grant(bench.pool, other.account_id, user.id)
        await bench.change(user.account_id)
        await eventually(lambda: is_converged(bench, subscription), seconds=20)

    assert told(sink, "/a") == [
        {other.account_id: {"Email": "s1"}},
        {user.account_id: {"Email": "s1"}},
    ]


async def test_p08_nothing_is_sent_of_an_account_in_which_nothing_is_subscribed_to(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """RFC 9670 section 1.4, but for accounts of the user's own."""
    user, other = await bench.user(), await bench.user()
    await bench.pool.execute(
        "INSERT INTO grants (account_id, user_id, role) VALUES ($1, $2, 'write')",
        other.account_id,
        user.id,
    )
    await bench.pool.execute("UPDATE grants SET is_subscribed = false")
    subscription = await bench.subscribe(user, sink.url("/a"))

    async with bench.worker():
        await bench.change(other.account_id)
        await bench.change(user.account_id)
        await eventually(lambda: is_converged(bench, subscription), seconds=20)

    assert told(sink, "/a") == [{user.account_id: {"Email": "s1"}}]


async def test_nothing_is_sent_after_the_end_of_a_subscription(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """P-15: nothing after `expires`, though events were waiting."""
    user = await bench.user()
    await bench.subscribe(user, sink.url("/a"), life=timedelta(milliseconds=1))
    other = await bench.user()
    await bench.subscribe(other, sink.url("/b"))
    await bench.change(user.account_id)
    await bench.change(other.account_id)

    async with bench.worker():
        await eventually(lambda: told(sink, "/b"))

    assert not sink.posts_to("/a")


async def test_nothing_is_sent_after_the_end_of_the_credential(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """P-20: it is tied to the credentials that made it."""
    user, other = await bench.user(), await bench.user()
    await bench.subscribe(user, sink.url("/a"))
    await bench.subscribe(other, sink.url("/b"))
    await bench.change(user.account_id)
    await bench.pool.execute(
        "UPDATE tokens SET expires_at = now() - interval '1 s' WHERE id = $1", user.token_id
    )
    third = await bench.user()
    gone = await bench.subscribe(third, sink.url("/c"))
    await bench.change(third.account_id)
    await revoke_token(bench.pool, third.token_id)
    await bench.change(other.account_id)

    async with bench.worker():
        await eventually(lambda: told(sink, "/b"))

    assert await is_gone(bench, gone)
    assert [post.path for post in sink.posts] == ["/b"]


async def test_nothing_is_sent_before_the_subscription_is_verified(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """P-35: the server must not make any further request to the URL until it is verified."""
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/a"), is_verified=False)

    async with bench.worker(verify="code"):
        await eventually(lambda: sink.posts_to("/a"))
        await bench.change(user.account_id)
        await eventually(lambda: is_merged(bench, subscription))

    [post] = sink.posts
    assert json.loads(post.content)["@type"] == "PushVerification"
    assert (await bench.lane(subscription))["due_at"] is None
