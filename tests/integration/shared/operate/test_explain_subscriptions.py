"""Each reason why an event was, or was not, POSTed, driven on real servers, and found."""

from dataclasses import replace

import pytest

from services.webhooks.settings import WebhookSettings
from shared.operate.explain.words import Outcome, Reason, Verdict
from shared.store.credentials import revoke_token
from shared.store.lane_admin import pause_lane, probe_lane, resume_lane, resync_lane
from shared.store.people import add_account, add_grant, remove_grant
from shared.store.push_subscriptions import delete_push_subscriptions, update_push_subscription
from shared.web_push.endpoint_secrets import Endpoint, seal_endpoint
from shared.web_push.sealing import Vault
from tests.support.eventually import eventually
from tests.support.explained import Explainer
from tests.support.webhook_sink import Behaviour, Manner, WebhookSink, webhook_sink
from tests.support.webhooks import WebhookBench, WebhookUser

pytestmark = pytest.mark.integration

SERVER_ERROR = Behaviour(status=500, body=b"the \x1b[31mdatabase\nis away")
SLOW = Behaviour(delay_seconds=1.5)


async def change(bench: WebhookBench, user: WebhookUser, *types: str) -> int:
    """The sequence of an event of the user's account."""
    await bench.change(user.account_id, *types)
    return bench.sequences[user.account_id]


def texts(verdict: Verdict) -> str:
    return " | ".join((verdict.headline, *(f"{step.what}: {step.text}" for step in verdict.steps)))


# Told.


async def test_told_with_its_times(bench: WebhookBench, why: Explainer, sink: WebhookSink) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/told"))
    async with bench.worker():
        sequence = await change(bench, user)
        found = await why.becomes(Reason.TOLD, sequence, subscription)

    assert found.outcome is Outcome.TOLD
    assert "the endpoint answered 201" in found.headline
    assert [step.what for step in found.steps] == ["committed", "appended", "sent", "answered"]
    times = [step.at for step in found.steps if step.at is not None]
    assert len(times) == 4
    assert times == sorted(times)
    assert found.receiver.detail == sink.url("")


async def test_told_at_a_later_try(bench: WebhookBench, why: Explainer, sink: WebhookSink) -> None:
    user = await bench.user()
    sink.behave("/second", SERVER_ERROR, Behaviour())
    subscription = await bench.subscribe(user, sink.url("/second"))
    async with bench.worker():
        sequence = await change(bench, user)
        await why.becomes(Reason.BACKOFF, sequence, subscription)
        await probe_lane(bench.pool, subscription)
        found = await why.becomes(Reason.TOLD, sequence, subscription)

    assert "at the 2nd try" in found.headline


async def test_told_as_part_of_a_later_message(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/later"))
    first = await change(bench, user, "Email")
    between = await change(bench, user, "Thread")
    last = await change(bench, user, "Email")
    async with bench.worker():
        found = await why.becomes(Reason.TOLD_WITH_LATER, first, subscription)
        assert f"the newer state of event {last}" in found.headline
        assert (await why.subscription(between, subscription)).reason is Reason.TOLD


async def test_told_so_long_ago_that_the_request_is_not_kept(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/long"))
    async with bench.worker():
        sequence = await change(bench, user)
        for _ in range(34):
            newest = await change(bench, user, "Mailbox")

            async def is_told(newest: int = newest) -> bool:
                return bool((await bench.lane(subscription))["cursor"] >= newest)

            await eventually(is_told)
    found = await why.subscription(sequence, subscription)
    assert found.reason is Reason.TOLD_NOT_KEPT, found


async def test_told_again_after_a_resync_is_told(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/resync"))
    async with bench.worker():
        sequence = await change(bench, user)
        await why.becomes(Reason.TOLD, sequence, subscription)
    await resync_lane(bench.pool, subscription)
    assert (await why.subscription(sequence, subscription)).reason is Reason.TOLD


# On its way.


async def test_committed_and_not_appended(bench: WebhookBench, why: Explainer) -> None:
    """Nobody relays here: the address book of a new account waits in the outbox."""
    user = await bench.user()
    subscription = await bench.subscribe(user, "http://127.0.0.1:9/")
    found = await why.subscription(user.account_id, subscription)
    assert (found.reason, found.outcome) == (Reason.NOT_APPENDED, Outcome.WAITS)
    assert [step.what for step in found.steps] == ["committed", "waits"]


async def test_not_merged_while_no_deliverer_reads(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/unmerged"))
    async with bench.worker():
        await why.becomes(Reason.TOLD, await change(bench, user), subscription)
    sequence = await change(bench, user)
    found = await why.subscription(sequence, subscription)
    assert found.reason is Reason.NOT_MERGED, found
    assert "1 event wait" in found.headline or "events wait" in found.headline


async def test_being_sent(bench: WebhookBench, why: Explainer, sink: WebhookSink) -> None:
    user = await bench.user()
    sink.behave("/slow", SLOW)
    subscription = await bench.subscribe(user, sink.url("/slow"))
    async with bench.worker():
        sequence = await change(bench, user)
        await why.becomes(Reason.BEING_SENT, sequence, subscription)
        sink.behave("/slow", Behaviour())


async def test_due_and_then_no_deliverer(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    """The only slot is taken by somebody else's slow endpoint."""
    settings = WebhookSettings(healthy_at_once_max=1, slow_at_once_max=0)
    slow, user = await bench.user(), await bench.user()
    with webhook_sink() as other:
        other.behave("/slow", SLOW)
        holder = await bench.subscribe(slow, other.url("/slow"))
        subscription = await bench.subscribe(user, sink.url("/due"))
        async with bench.worker(settings):
            held = await change(bench, slow)
            await why.becomes(Reason.BEING_SENT, held, holder)
            sequence = await change(bench, user)
            await why.becomes(Reason.DUE, sequence, subscription)
            await bench.pool.execute(
                "UPDATE lanes SET due_at = due_at - interval '10 s' WHERE subscription_id = $1",
                subscription,
            )
            found = await why.becomes(Reason.NO_DELIVERER, sequence, subscription)
    assert "no deliverer takes it" in found.headline


async def test_behind_others_of_its_origin(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    settings = WebhookSettings(origin_at_once_max=1)
    asked = Explainer(why.pool, why.bus, why.vault, origin_at_once_max=1)
    first, second = await bench.user(), await bench.user()
    sink.behave("/busy", SLOW)
    holder = await bench.subscribe(first, sink.url("/busy"))
    subscription = await bench.subscribe(second, sink.url("/behind"))
    async with bench.worker(settings):
        await asked.becomes(Reason.BEING_SENT, await change(bench, first), holder)
        sequence = await change(bench, second)
        found = await asked.becomes(Reason.ORIGIN_BUSY, sequence, subscription)
    assert "behind 1 other subscription of the same origin" in found.headline


async def test_in_the_window_that_a_429_has_opened(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    throttled = Behaviour(status=429)
    sink.behave("/window", throttled, throttled, throttled, throttled, Behaviour())
    subscription = await bench.subscribe(user, sink.url("/window"))
    async with bench.worker():
        first = await change(bench, user)
        for tries in range(1, 5):

            async def has_failed(tries: int = tries) -> bool:
                return len(sink.posts_to("/window")) == tries and bool(
                    (await bench.lane(subscription))["failures"]
                )

            await eventually(has_failed)
            await probe_lane(bench.pool, subscription)
        await why.becomes(Reason.TOLD, first, subscription)
        sequence = await change(bench, user)
        found = await why.becomes(Reason.WINDOW, sequence, subscription)
    assert "messages are fewer since the endpoint answered 429" in found.headline


async def test_backoff_with_the_last_answer(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    sink.behave("/fails", SERVER_ERROR)
    subscription = await bench.subscribe(user, sink.url("/fails"))
    async with bench.worker():
        sequence = await change(bench, user)
        await why.becomes(Reason.BACKOFF, sequence, subscription)
    found = await why.subscription(sequence, subscription)
    assert "backoff after 1 failure; the last answer was 500" in found.headline
    assert "“the  [31mdatabase is away”" in found.headline, "in one line, and harmless"
    assert any(f"probe {subscription}" in (one.command or "") for one in found.advice)


async def test_what_retry_after_asked_for(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    sink.behave("/asks", Behaviour(status=503, headers={"Retry-After": "40"}))
    subscription = await bench.subscribe(user, sink.url("/asks"))
    async with bench.worker():
        sequence = await change(bench, user)
        found = await why.becomes(Reason.RETRY_AFTER, sequence, subscription)
    assert "Retry-After: 40" in texts(found)


async def test_the_breaker_of_its_origin(bench: WebhookBench, why: Explainer) -> None:
    user = await bench.user()
    with webhook_sink() as broken:
        subscriptions = []
        for number in range(12):
            broken.behave(f"/{number}", Behaviour(manner=Manner.CLOSE))
            subscriptions.append(await bench.subscribe(user, broken.url(f"/{number}")))
        async with bench.worker():
            sequence = await change(bench, user)

            async def any_is_put_off() -> bool:
                found = [await why.subscription(sequence, one) for one in subscriptions]
                return any(verdict.reason is Reason.BREAKER for verdict in found)

            await eventually(any_is_put_off, seconds=20)


async def test_a_fault_of_the_deliverers_machine(bench: WebhookBench, why: Explainer) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, "http://127.255.255.255:9/")  # no way there
    async with bench.worker():
        sequence = await change(bench, user)
        found = await why.becomes(Reason.OWN_FAULT, sequence, subscription)
    assert "this machine could not" in texts(found)


# Verification.


async def test_its_verification_is_on_its_way(bench: WebhookBench, why: Explainer) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, "http://127.0.0.1:9/", is_verified=False)
    sequence = await change(bench, user)
    assert (await why.subscription(sequence, subscription)).reason is Reason.VERIFYING
    await bench.pool.execute(  # as a deliverer leaves it that dies before the answer
        "UPDATE push_subscriptions SET verification_started_at = now() - interval '5 min'"
        " WHERE id = $1",
        subscription,
    )
    found = await why.subscription(sequence, subscription)
    assert found.reason is Reason.VERIFICATION_CUT_SHORT


async def test_its_verification_failed(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    sink.behave("/refuses", SERVER_ERROR)
    subscription = await bench.subscribe(user, sink.url("/refuses"), is_verified=False)
    async with bench.worker():
        sequence = await change(bench, user)
        found = await why.becomes(Reason.VERIFICATION_FAILED, sequence, subscription)
    assert "its PushVerification got 500" in found.headline


async def test_its_code_was_not_sent_back(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/code"), is_verified=False)
    async with bench.worker(verify="code"):
        sequence = await change(bench, user)
        await why.becomes(Reason.CODE_NOT_GIVEN, sequence, subscription)


# Not for it.


async def test_filtered_by_its_types(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/types"), types=["Mailbox"])
    async with bench.worker():
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
    async with bench.worker():
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
    async with bench.worker():
        await bench.pool.execute("UPDATE logs SET highest_sequence = $1", sequence)
        subscription = await bench.subscribe(user, sink.url("/young"))
        found = await why.subscription(sequence, subscription)
    assert found.reason is Reason.CREATED_LATER, found


async def test_paused(bench: WebhookBench, why: Explainer, sink: WebhookSink) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/paused"))
    await pause_lane(bench.pool, subscription)
    async with bench.worker():
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
    async with bench.worker():
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
    async with bench.worker():
        sequence = await change(bench, user)
        await why.becomes(Reason.TOLD, sequence, subscription)
    async with bench.pool.acquire() as connection, connection.transaction():
        await delete_push_subscriptions(connection, [subscription], because="destroyed")
    found = await why.subscription(sequence, subscription)
    assert found.reason is Reason.TOLD_NOT_KEPT, found
    assert "its client destroyed it" in texts(found)


# Faults.


async def test_its_url_is_sealed_under_another_key(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/sealed"))
    async with replace(bench, vault=Vault("7" * 64)).worker():
        sequence = await change(bench, user)
        found = await why.becomes(Reason.SECRET_UNREADABLE, sequence, subscription)
    assert found.outcome is Outcome.NOT_TOLD


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
    async with bench.worker():
        sequence = await change(bench, user)
        await why.becomes(Reason.CRASHED, sequence, subscription)


async def test_what_nothing_explains_is_said_to_be_so(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    sink.behave("/lost", SERVER_ERROR)
    subscription = await bench.subscribe(user, sink.url("/lost"))
    async with bench.worker():
        sequence = await change(bench, user)
        await why.becomes(Reason.BACKOFF, sequence, subscription)
    await bench.pool.execute(
        "UPDATE lanes SET due_at = NULL WHERE subscription_id = $1", subscription
    )
    found = await why.subscription(sequence, subscription)
    assert (found.reason, found.outcome) == (Reason.UNEXPLAINED, Outcome.UNKNOWN)
