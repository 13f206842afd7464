"""Which event is meant, and what is said where there is none; on real servers."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.bus.connection import BusUnavailableError, open_bus
from shared.log.cursor import Cursor
from shared.log.event import Cause
from shared.operate.explain.words import (
    ByAccount,
    ByCursor,
    OneSubscription,
    Outcome,
    Reason,
    Receivers,
)
from shared.runtime.clock import now_utc_text
from shared.store.lane_admin import pause_lane, probe_lane, resume_lane
from shared.store.people import UnknownNameError, add_account, add_grant
from tests.support.eventually import eventually
from tests.support.explained import Explainer
from tests.support.servers import NatsServer
from tests.support.webhook_sink import WebhookSink
from tests.support.webhooks import WebhookBench, webhook_bench

pytestmark = pytest.mark.integration

HISTORY = 64  # events that the log keeps of an account
NOBODY: Receivers = OneSubscription("p-nobody")


async def test_one_that_is_named_by_its_cursor(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, sink.url("/cursor"), types=["Mailbox"])
    await bench.change(user.account_id)
    epoch = await bench.log.guard.epoch()
    cursor = ByCursor(Cursor(epoch, bench.sequences[user.account_id]))
    explained = await why.ask(cursor, OneSubscription(subscription))
    assert explained.event is not None
    assert explained.event.account == user.account_id
    assert explained.event.changed == {"Email": "s1"}
    assert explained.event.method == "test"
    assert (explained.outcome, explained.headline) == (
        Outcome.NOT_TOLD,
        explained.verdicts[0].headline,
    )


async def test_the_newest_of_an_account_and_of_a_type(bench: WebhookBench, why: Explainer) -> None:
    user = await bench.user()
    await bench.change(user.account_id, "Email")
    email = bench.sequences[user.account_id]
    await bench.change(user.account_id, "Mailbox")
    mailbox = bench.sequences[user.account_id]

    async def found(**wanted: object) -> int | None:
        which = ByAccount(account=user.account_id, **wanted)  # type: ignore[arg-type]
        event = (await why.ask(which, NOBODY)).event
        return None if event is None else event.sequence

    assert await found() == mailbox, "the address book of the new account waits, and is older"
    assert await found(type="AddressBook") is None
    assert await found(type="Email") == email
    assert await found(type="Thread") is None
    assert await found(since=datetime.now(UTC) - timedelta(hours=1)) == mailbox
    assert await found(since=datetime.now(UTC) + timedelta(hours=1)) is None


async def test_what_is_no_event(bench: WebhookBench, why: Explainer) -> None:
    user = await bench.user()
    await bench.change(user.account_id)
    last = bench.sequences[user.account_id]
    assert (await why.subscription(0, "p-nobody")).reason is Reason.UNKNOWN_EVENT
    assert (await why.subscription(last + 1000, "p-nobody")).reason is Reason.FUTURE_EVENT
    other = ByCursor(Cursor("abcdef", last))
    assert (await why.subscription(other, "p-nobody")).reason is Reason.OTHER_LOG
    clock = await bench.log.keeper._jetstream.last_message("STATE", "state._.clock")
    assert clock is not None
    mark = await why.subscription(clock.sequence, "p-nobody")
    assert mark.reason is Reason.UNKNOWN_EVENT
    nobody = await why.subscription(last, "p-nobody")
    assert (nobody.reason, nobody.outcome) == (Reason.UNKNOWN_SUBSCRIPTION, Outcome.UNKNOWN)
    with pytest.raises(UnknownNameError):
        await why.ask("no such account", NOBODY)


async def test_the_end_of_an_account(bench: WebhookBench, why: Explainer) -> None:
    user = await bench.user()
    await bench.change(user.account_id)
    sequence = await bench.log.appender.end(user.account_id, at=now_utc_text(), cause=Cause())
    found = await why.subscription(sequence, "p-nobody")
    assert found.reason is Reason.ACCOUNT_REMOVED


async def test_one_that_the_log_keeps_no_more(
    bench: WebhookBench, why: Explainer, sink: WebhookSink
) -> None:
    """What it changed is known as long as a later event carries it."""
    user, other = await bench.user(), await bench.user()
    subscription = await bench.subscribe(user, sink.url("/kept"))
    await bench.change(other.account_id)  # which the log keeps, and so the time before the next
    await bench.change(user.account_id, "Thread", "Email")
    sequence = bench.sequences[user.account_id]
    between = await bench.subscribe(user, sink.url("/between"))
    for _ in range(HISTORY + 1):
        await bench.change(user.account_id, "Email")
    young = await bench.subscribe(user, sink.url("/young"))
    explained = await why.ask(sequence, OneSubscription(subscription))
    assert explained.event is not None
    assert not explained.event.is_kept
    assert explained.event.changed == {"Thread": "s1"}, "all that is still known of it"
    async with bench.worker():
        found = await why.becomes(Reason.TOLD, sequence, subscription)
        await why.becomes(Reason.NOT_KEPT, sequence, between)
        await bench.change(user.account_id, "Email")
        await why.becomes(Reason.CREATED_LATER, sequence, young)
    assert "names it" in found.steps[0].text + found.steps[1].text
    for _ in range(HISTORY):
        await bench.change(user.account_id, "Thread")
    gone = await why.subscription(sequence, subscription)
    assert gone.reason is Reason.NOT_KEPT


async def test_without_nats_what_waits_for_it_is_explained_all_the_same(
    bench: WebhookBench, why: Explainer
) -> None:
    user = await bench.user()
    subscription = await bench.subscribe(user, "http://127.0.0.1:9/")
    deaf = Explainer(why.pool, None, why.vault)
    found = await deaf.subscription(user.account_id, subscription)
    assert found.reason is Reason.NOT_APPENDED
    assert "NATS cannot be reached" in found.headline
    with pytest.raises(BusUnavailableError):
        await deaf.subscription(1, subscription)


async def test_what_a_deliverer_could_not_read_while_nats_was_away(
    fresh_nats: NatsServer, postgres_dsn: str, sink: WebhookSink
) -> None:
    """It sees two accounts, so it must read the log before it tells."""
    async with webhook_bench(fresh_nats.url, postgres_dsn) as bench:
        user = await bench.user()
        other = await add_account(bench.pool, "another one")
        await add_grant(bench.pool, other, user.id, "read")
        subscription = await bench.subscribe(user, sink.url("/away"))
        await pause_lane(bench.pool, subscription)
        async with bench.worker():
            await bench.change(user.account_id)
            sequence = bench.sequences[user.account_id]

            async def is_merged() -> bool:
                return bool((await bench.lane(subscription))["target"] >= sequence)

            await eventually(is_merged)
            fresh_nats.stop()
            await resume_lane(bench.pool, subscription)

            async def is_put_off() -> bool:
                return bool((await bench.lane(subscription))["waits_for"] == "log_away")

            await eventually(is_put_off)
            await pause_lane(bench.pool, subscription)
            await bench.pool.execute(  # as it was, so that NATS has the time to start
                """
                UPDATE lanes SET paused_at = NULL, not_before = now() + interval '1 min',
                    due_at = now() + interval '1 min' WHERE subscription_id = $1
                """,
                subscription,
            )
            fresh_nats.start()
            async with open_bus(fresh_nats.url, name="explain") as bus:
                why = Explainer(bench.pool, bus, bench.vault)
                found = await why.becomes(Reason.LOG_AWAY, sequence, subscription)
                assert "could not read NATS or PostgreSQL" in found.headline
                await probe_lane(bench.pool, subscription)
                await why.becomes(Reason.TOLD, sequence, subscription)
