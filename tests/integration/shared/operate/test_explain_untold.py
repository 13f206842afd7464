"""Each reason why an event is not POSTed at all, driven on real servers, and found."""

from collections.abc import AsyncIterator

import pytest

from shared.operate.explain.words import Reason
from shared.store.credentials import revoke_token
from shared.store.lane_admin import pause_lane, resume_lane
from shared.store.people import add_account, add_grant, remove_grant
from shared.store.push_subscriptions import delete_push_subscriptions, update_push_subscription
from shared.web_push.endpoint_secrets import Endpoint, seal_endpoint
from tests.support.explained import SERVER_ERROR, Explainer, change, texts
from tests.support.webhook_sink import Behaviour, WebhookSink
from tests.support.webhooks import WebhookBench

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
async def deliverer(bench: WebhookBench) -> AsyncIterator[None]:
    """It runs beside all tests of this module."""
    async with bench.worker():
        yield


# Verification.


async def test_its_verification_failed(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    sink.behave("/refuses", SERVER_ERROR)
    subscription = await bench.subscribe(user, sink.url("/refuses"), is_verified=False)
    sequence = await change(bench, user)
    found = await why.becomes(Reason.VERIFICATION_FAILED, sequence, subscription)
    assert "its PushVerification got 500" in found.headline


# Not for it.


async def test_filtered_by_its_types(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/types"), types=["Mailbox"])
    sequence = await change(bench, user, "Email")
    found = await why.becomes(Reason.FILTERED_BY_TYPE, sequence, subscription)
    assert found.headline == (
        "Not sent: the subscription's types are Mailbox only; this event changed Email"
    )
    later = await change(bench, user, "Mailbox")
    await why.becomes(Reason.TOLD, later, subscription)
    assert (await why.subscription(sequence, subscription)).reason is Reason.FILTERED_BY_TYPE
    async with bench.pool.acquire() as connection, connection.transaction():
        await update_push_subscription(connection, subscription, types=["Email"], lifetime=None)
    found = await why.subscription(sequence, subscription)
    assert "types were Mailbox only until" in found.headline
    later_still = await why.subscription(later, subscription)
    assert later_still.reason is Reason.TOLD, "as its types were when it was told"


async def test_no_grant_and_then_one_and_then_none_again(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/grants"), types=["Email"])
    account = await add_account(bench.pool, "grants of a test")

    async def event() -> int:
        await bench.change(account)
        return bench.sequences[account]

    other = await bench.user()
    others = await bench.subscribe(other, sink.url("/others"))
    await why.becomes(Reason.NO_GRANT, first := await event(), subscription)
    await why.becomes(Reason.TOLD, await change(bench, other), others)  # so `first` was merged
    await add_grant(bench.pool, account, user.id, "read")
    assert (await why.subscription(first, subscription)).reason is Reason.GRANTED_LATER
    await why.becomes(Reason.TOLD, second := await event(), subscription)
    found = await why.subscription(first, subscription)
    assert found.reason is Reason.TOLD_WITH_LATER, found
    await remove_grant(bench.pool, account, user.id)
    await why.becomes(Reason.GRANT_REMOVED, third := await event(), subscription)
    await why.becomes(Reason.TOLD, await change(bench, other), others)
    await add_grant(bench.pool, account, user.id, "read")
    await bench.pool.execute(
        "UPDATE grants SET is_subscribed = false WHERE account_id = $1", account
    )
    fourth = await event()
    await why.becomes(Reason.NOT_FOLLOWED, fourth, subscription)
    assert (await why.subscription(second, subscription)).reason is Reason.TOLD
    assert (await why.subscription(third, subscription)).reason is Reason.GRANTED_LATER


async def test_made_after_the_event(bench: WebhookBench, why: Explainer, sink: WebhookSink) -> None:
    user = await bench.user()
    sequence = await change(bench, user)
    await bench.pool.execute("UPDATE logs SET highest_sequence = $1", sequence)
    subscription = await bench.subscribe(user, sink.url("/young"))
    found = await why.subscription(sequence, subscription)
    assert found.reason is Reason.CREATED_LATER, found


async def test_paused(bench: WebhookBench, why: Explainer, sink: WebhookSink) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/paused"))
    await pause_lane(bench.pool, subscription)
    sequence = await change(bench, user)
    found = await why.subscription(sequence, subscription)
    assert found.reason is Reason.PAUSED
    assert found.advice[0].command == f"tidings subscription resume {subscription}"
    await resume_lane(bench.pool, subscription)
    await why.becomes(Reason.TOLD, sequence, subscription)


# Ended.


async def test_ended_before_it_was_told(bench: WebhookBench, why: Explainer) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, "http://127.0.0.1:9/")
    sequence = await change(bench, user)
    await bench.pool.execute(
        "UPDATE push_subscriptions SET ends_at = now() WHERE id = $1", subscription
    )
    assert (await why.subscription(sequence, subscription)).reason is Reason.EXPIRED
    await bench.pool.execute("UPDATE tokens SET expires_at = now() WHERE id = $1", user.token_id)
    assert (await why.subscription(sequence, subscription)).reason is Reason.CREDENTIAL_ENDED
    await revoke_token(bench.pool, user.token_id)
    found = await why.subscription(sequence, subscription)
    assert found.reason is Reason.ENDED_UNTOLD
    assert found.headline.endswith("its token was revoked")


async def test_ended_by_its_endpoint(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    sink.behave("/gone", Behaviour(status=410))
    subscription = await bench.subscribe(user, sink.url("/gone"))
    sequence = await change(bench, user)
    found = await why.becomes(Reason.ENDED_UNTOLD, sequence, subscription)
    assert found.headline.endswith("its endpoint answered 404 or 410")
    later = await change(bench, user)
    assert (await why.subscription(later, subscription)).reason is Reason.ENDED_BEFORE


async def test_told_and_then_destroyed_by_its_client(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/destroyed"))
    sequence = await change(bench, user)
    await why.becomes(Reason.TOLD, sequence, subscription)
    async with bench.pool.acquire() as connection, connection.transaction():
        await delete_push_subscriptions(connection, [subscription], because="destroyed")
    found = await why.subscription(sequence, subscription)
    assert found.reason is Reason.TOLD_NOT_KEPT, found
    assert "its client destroyed it" in texts(found)


# Faults.


async def test_a_bug_of_the_deliverer(bench: WebhookBench, why: Explainer) -> None:
    """What is sealed is no URL, which no check lets in."""
    user = await bench.user()
    subscription = await bench.subscribe(user, "http://127.0.0.1:9/")
    wrapped = await bench.pool.fetchval(
        "SELECT wrapped FROM push_subscription_keys WHERE subscription_id = $1", subscription
    )
    key = bench.vault.unwrap(wrapped, subscription)
    endpoint = Endpoint(url="http://127.0.0.1:no", p256dh=None, auth=None, code="c")
    await bench.pool.execute(
        "UPDATE push_subscriptions SET sealed = $2 WHERE id = $1",
        subscription,
        seal_endpoint(key, subscription, endpoint),
    )
    sequence = await change(bench, user)
    await why.becomes(Reason.CRASHED, sequence, subscription)
