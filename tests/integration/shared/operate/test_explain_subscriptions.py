"""Each reason why an event was, or was not, POSTed, driven on real servers, and found."""

from dataclasses import replace

import pytest

from services.webhooks.settings import WebhookSettings
from shared.operate.explain.words import Outcome, Reason
from shared.store.lane_admin import probe_lane, resync_lane
from shared.web_push.sealing import Vault
from tests.support.eventually import eventually
from tests.support.explained import SERVER_ERROR, Explainer, change
from tests.support.webhook_sink import Behaviour, Manner, WebhookSink, webhook_sink
from tests.support.webhooks import WebhookBench

pytestmark = pytest.mark.integration

SLOW = Behaviour(delay_seconds=1.5)


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
        found = await why.becomes(Reason.BACKOFF, sequence, subscription, "the last answer was 500")
    assert "backoff after 1 failure" in found.headline
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
        await why.becomes(Reason.RETRY_AFTER, sequence, subscription, "Retry-After: 40")


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
        await why.becomes(Reason.OWN_FAULT, sequence, subscription, "this machine could not")


# With another deliverer than usual, or none.


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


async def test_its_code_was_not_sent_back(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/code"), is_verified=False)
    async with bench.worker(verify="code"):
        sequence = await change(bench, user)
        await why.becomes(Reason.CODE_NOT_GIVEN, sequence, subscription)


async def test_its_url_is_sealed_under_another_key(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/sealed"))
    async with replace(bench, vault=Vault("7" * 64)).worker():
        sequence = await change(bench, user)
        found = await why.becomes(Reason.SECRET_UNREADABLE, sequence, subscription)
    assert found.outcome is Outcome.NOT_TOLD


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
