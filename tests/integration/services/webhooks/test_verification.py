"""PushVerification (RFC 8620 section 7.2.2): at once, to each, and to nobody twice."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from services.dispatcher.settings import PushRules
from services.webhooks.answers import Answer, Outcome
from services.webhooks.messages import PushRequest
from services.webhooks.sender import Client
from services.webhooks.settings import WebhookSettings
from shared.store.lanes import claim_unverified
from shared.store.vapid_keys import rotate_vapid_key
from shared.web_push.sealing import Vault
from shared.web_push.settings import WebhookPolicySettings
from shared.web_push.vapid import VapidKey
from tests.support.dispatcher import SECRET_KEY
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.push_subscriptions import shown, subscribe, update, update_error
from tests.support.servers import NatsServer
from tests.support.webhook_sink import Behaviour, Manner, WebhookSink
from tests.support.webhook_told import is_gone
from tests.support.webhooks import LOOPBACK, WebhookBench

pytestmark = pytest.mark.integration

FAST = WebhookSettings(answer_seconds_max=1.0, lease_seconds=3.0)
WORKERS = 3
REFUSALS = {
    "no-content-type-we-know": Behaviour(status=415),
    "our-key-is-not-the-one": Behaviour(status=403),
    "error": Behaviour(status=500),
    "throttled": Behaviour(status=429, headers={"Retry-After": "0"}),
    "away": Behaviour(status=503, headers={"Retry-After": "0"}),
    "elsewhere": Behaviour(status=307, headers={"Location": "/"}),
    "black-hole": Behaviour(manner=Manner.BLACK_HOLE),
    "reset": Behaviour(manner=Manner.RESET),
    "end": Behaviour(manner=Manner.CLOSE),
}


@pytest.fixture
async def strict(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    policy = WebhookPolicySettings(allow=LOOPBACK, verify="code")
    async with everything_running(
        fresh_nats.url, postgres_dsn, push=PushRules(policy=policy)
    ) as everything:
        yield everything


async def has_been_tried(bench: WebhookBench, *subscriptions: str) -> bool:
    """The PushVerification of each has ended somehow, and that was written."""
    tried = await bench.pool.fetchval(
        "SELECT count(*) FROM delivery_attempts WHERE subscription_id = ANY ($1)",
        list(subscriptions),
    )
    return bool(tried == len(subscriptions))


async def is_verified(bench: WebhookBench, subscription: str) -> bool:
    return bool(
        await bench.pool.fetchval(
            "SELECT verified_at IS NOT NULL FROM push_subscriptions WHERE id = $1", subscription
        )
    )


async def test_in_mode_code_nothing_more_is_sent_until_the_client_echoes_it(
    strict: RunningEverything, sink: WebhookSink
) -> None:
    """P-34, P-35, P-36: a 2xx is not enough, and a wrong code is refused."""
    client, _ = await strict.user("ada")
    created = await subscribe(client, url=sink.url("/push"))
    await eventually(lambda: sink.posts, seconds=1)
    code = json.loads(sink.posts[0].content)["verificationCode"]
    assert len(code) >= 22  # 128 bits
    await client.add_card(name={"full": "Ada"})
    for wrong in ("", code[:-1], code + "x", "x"):
        error = await update_error(client, created["id"], verificationCode=wrong)
        assert error["type"] == "invalidProperties"
        assert error["properties"] == ["verificationCode"]
    witness = await subscribe(client, url=sink.url("/witness"))
    await eventually(lambda: sink.posts_to("/witness"))
    assert witness["id"] != created["id"]
    assert len(sink.posts_to("/push")) == 1

    await update(client, created["id"], verificationCode=code)

    await eventually(lambda: len(sink.posts_to("/push")) == 2)
    change = json.loads(sink.posts_to("/push")[1].content)
    state = (await client.call("ContactCard/get", ids=[]))["state"]
    assert change["@type"] == "StateChange"
    assert change["changed"][client.account_id]["ContactCard"] == state
    assert (await shown(client, created["id"]))["verificationCode"] == code
    assert len(sink.posts_to("/witness")) == 1


async def test_nobody_is_asked_twice_whatever_it_answers_and_however_many_work(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """P-35, V-04: a PushVerification that was refused is not sent again (RFC 9749 section 6)."""
    user = await bench.user()
    asked = []
    for name, behaviour in REFUSALS.items():
        sink.behave(f"/{name}", behaviour)
        asked.append(await bench.subscribe(user, sink.url(f"/{name}"), is_verified=False))
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(bench.worker(FAST)) for _ in range(WORKERS)]
        await eventually(lambda: has_been_tried(bench, *asked))
        await bench.change(user.account_id)
        witness = await bench.subscribe(user, sink.url("/witness"), is_verified=False)
        for worker in workers:
            worker.wake()
        await eventually(lambda: is_verified(bench, witness))
        await bench.change(user.account_id)
        await eventually(lambda: len(sink.posts_to("/witness")) > 1)

    assert {path: len(sink.posts_to(f"/{path}")) for path in REFUSALS} == dict.fromkeys(REFUSALS, 1)
    for subscription in asked:
        assert not await is_verified(bench, subscription)


async def test_an_endpoint_that_is_gone_ends_an_unverified_subscription(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    sink.behave("/push", Behaviour(status=410))
    subscription = await bench.subscribe(await bench.user(), sink.url("/push"), is_verified=False)
    async with bench.worker():
        await eventually(lambda: is_gone(bench, subscription))
    assert len(sink.posts) == 1


async def test_who_dies_between_the_claim_and_the_post_has_asked(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """At most once: of the dead worker nobody knows whether it had sent it."""
    user = await bench.user()
    lost = await bench.subscribe(user, sink.url("/lost"), is_verified=False)
    assert [one.id for one in await claim_unverified(bench.pool, 10)] == [lost]

    async with bench.worker(), bench.worker():
        other = await bench.subscribe(user, sink.url("/other"), is_verified=False)
        await eventually(lambda: is_verified(bench, other))
        await bench.change(user.account_id)
        await eventually(lambda: len(sink.posts_to("/other")) == 2)

    assert not sink.posts_to("/lost")


class LacksFiles:
    """A client that cannot open the connections of its first requests."""

    def __init__(self, client: Client, times: int) -> None:
        self._client = client
        self.left = times

    async def post(self, request: PushRequest, *, may_repeat: bool = False) -> Answer:
        if self.left:
            self.left -= 1
            return Answer(outcome=Outcome.EGRESS_FAILED, reason="Too many open files")
        return await self._client.post(request, may_repeat=may_repeat)


async def test_who_could_not_be_asked_for_a_fault_of_our_own_is_asked_after_it(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """P-35: nothing was sent, so it is not asked twice."""
    subscription = await bench.subscribe(await bench.user(), sink.url("/push"), is_verified=False)
    async with bench.worker(around=lambda client: LacksFiles(client, 1)):
        await eventually(lambda: is_verified(bench, subscription))

    assert len(sink.posts) == 1


async def test_who_is_told_to_stop_hears_the_answer_first(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """A rolling restart leaves nobody unverified, who could not be asked again."""
    sink.behave("/push", Behaviour(delay_seconds=0.5))
    subscription = await bench.subscribe(await bench.user(), sink.url("/push"), is_verified=False)
    async with bench.worker():
        await eventually(lambda: sink.posts)
    assert await is_verified(bench, subscription)


async def test_each_of_many_is_asked_at_once_beside_black_holes(
    bench: WebhookBench, sink: WebhookSink
) -> None:
    """P-34: one that does not answer delays nobody."""
    user = await bench.user()
    holes = [f"/hole{number}" for number in range(20)]
    good = [f"/good{number}" for number in range(20)]
    for path in holes:
        sink.behave(path, Behaviour(manner=Manner.BLACK_HOLE))
        await bench.subscribe(user, sink.url(path), is_verified=False)
    async with bench.worker(WebhookSettings(answer_seconds_max=5)) as worker:
        await eventually(lambda: {post.path for post in sink.posts} == set(holes))
        waiting = [await bench.subscribe(user, sink.url(p), is_verified=False) for p in good]
        worker.wake()
        async with asyncio.timeout(2):  # far below what a black hole takes
            for subscription in waiting:
                await eventually(lambda one=subscription: is_verified(bench, one))  # type: ignore[misc]
    posts = [post.path for post in sink.posts]
    assert sorted(posts) == sorted(holes + good)
    codes = {json.loads(post.content)["verificationCode"] for post in sink.posts}
    assert len(codes) == len(posts)


async def test_a_push_service_that_does_not_know_our_new_key_is_asked_once(
    strict: RunningEverything, sink: WebhookSink
) -> None:
    """V-04, V-02: made under a key that the client knew, signed with it, and refused."""
    client, _ = await strict.user("ada")
    await rotate_vapid_key(
        strict.everything.pool, Vault(SECRET_KEY), VapidKey.generate(), grace=timedelta(days=1)
    )
    sink.behave("/push", Behaviour(status=403))
    created = await subscribe(client, url=sink.url("/push"), keys=sink.subscribe("/push").keys)
    await eventually(lambda: sink.posts)
    await subscribe(client, url=sink.url("/witness"))
    await eventually(lambda: sink.posts_to("/witness"))
    await client.add_card(name={"full": "Ada"})

    assert len(sink.posts_to("/push")) == 1
    assert (await shown(client, created["id"]))["verificationCode"] is None
