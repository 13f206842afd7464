"""The life of a PushSubscription over HTTP: created, verified, told, destroyed (RFC 8620 7.2)."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from shared.bus.control import ControlMessage
from shared.store.vapid_keys import rotate_vapid_key
from shared.web_push.sealing import Vault
from shared.web_push.vapid import VapidKey
from tests.support.dispatcher import SECRET_KEY, JmapClient, Json
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.push_subscriptions import (
    push_get,
    push_set,
    shown,
    subscribe,
    update,
    update_error,
)
from tests.support.servers import NatsServer
from tests.support.webhook_sink import Behaviour, Post, WebhookSink, webhook_sink

pytestmark = pytest.mark.integration

VAPID = "urn:ietf:params:jmap:webpush-vapid"


@pytest.fixture
async def running(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    async with everything_running(fresh_nats.url, postgres_dsn) as everything:
        yield everything


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


async def posted(sink: WebhookSink, path: str, count: int) -> Post:
    """The last of so many."""
    await eventually(lambda: len(sink.posts_to(path)) >= count)
    assert len(sink.posts_to(path)) == count
    return sink.posts_to(path)[-1]


async def until_told(sink: WebhookSink, text: str) -> None:
    await eventually(lambda: text.encode() in sink.posts_to("/push")[-1].content)


async def add_card(client: JmapClient) -> str:
    """The state that a push about it tells."""
    await client.add_card(name={"full": "Ada"})
    return str((await client.call("ContactCard/get", ids=[]))["state"])


def state_told(post: Post, client: JmapClient) -> str:
    change: Json = json.loads(post.content)
    assert change["@type"] == "StateChange"
    return str(change["changed"][client.account_id]["ContactCard"])


async def told_key(client: JmapClient) -> str:
    session = (await client.http.get("/jmap/session")).json()
    return str(session["capabilities"][VAPID]["applicationServerKey"])


def signing_key(post: Post) -> str:
    """As its Authorization header names it (RFC 8292 section 3)."""
    return post.headers["authorization"].partition("k=")[2].partition(",")[0]


async def test_it_is_verified_told_and_forgotten(
    running: RunningEverything, sink: WebhookSink
) -> None:
    """P-19, P-34, P-41, V-02: all of it encrypted, and signed with the key of the session."""
    client, _ = await running.user("ada")
    keys = sink.subscribe("/push").keys
    created = await subscribe(client, url=sink.url("/push"), keys=keys, types=["ContactCard"])

    asked = await posted(sink, "/push", 1)
    verification = json.loads(asked.content)
    assert verification.keys() == {"@type", "pushSubscriptionId", "verificationCode"}
    assert verification["@type"] == "PushVerification"
    assert verification["pushSubscriptionId"] == created["id"]
    assert (await shown(client, created["id"]))["verificationCode"] is None
    state = await add_card(client)
    told = await posted(sink, "/push", 2)
    assert state_told(told, client) == state
    for post in (asked, told):
        assert signing_key(post) == await told_key(client)
        assert post.body != post.content
        assert b"@type" not in post.body

    code = verification["verificationCode"]
    assert (await update_error(client, created["id"], verificationCode=code + "x"))["type"]
    await update(client, created["id"], verificationCode=code)
    assert (await shown(client, created["id"]))["verificationCode"] == code
    await push_set(client, destroy=[created["id"]])
    other = await subscribe(client, url=sink.url("/other"), types=["ContactCard"])
    await posted(sink, "/other", 1)
    await add_card(client)
    await posted(sink, "/other", 2)
    assert len(sink.posts_to("/push")) == 2
    assert other["id"] != created["id"]


async def test_what_changed_before_the_code_came_is_told_after_it(
    running: RunningEverything, sink: WebhookSink
) -> None:
    """P-35, P-36: an endpoint that did not answer well is verified by the code alone."""
    sink.behave("/push", Behaviour(status=500), Behaviour(status=201))
    client, _ = await running.user("ada")
    created = await subscribe(client, url=sink.url("/push"))
    code = json.loads((await posted(sink, "/push", 1)).content)["verificationCode"]
    await add_card(client)
    state = await add_card(client)
    witness = await subscribe(client, url=sink.url("/witness"), types=[])
    await posted(sink, "/witness", 1)
    assert len(sink.posts_to("/push")) == 1

    await update(client, created["id"], verificationCode=code)

    assert state_told(await posted(sink, "/push", 2), client) == state
    assert witness["id"] != created["id"]


async def test_after_a_rotation_each_goes_on_under_its_own_key(
    running: RunningEverything, sink: WebhookSink
) -> None:
    """V-02, V-03: until the grace is over; then the old one is told nothing more."""
    client, _ = await running.user("ada")
    pool, old_key, new = running.everything.pool, await told_key(client), VapidKey.generate()
    old = await subscribe(client, url=sink.url("/old"), types=["ContactCard"])
    await posted(sink, "/old", 1)
    await rotate_vapid_key(pool, Vault(SECRET_KEY), new, grace=timedelta(days=1))
    await running.tell(ControlMessage(vapid_key_changed=True))
    await subscribe(client, url=sink.url("/new"), types=["ContactCard"])
    await posted(sink, "/new", 1)

    await add_card(client)

    assert signing_key(await posted(sink, "/old", 2)) == old_key
    assert signing_key(await posted(sink, "/new", 2)) == new.application_server_key
    assert await told_key(client) == new.application_server_key
    await pool.execute("UPDATE vapid_keys SET retires_at = now() WHERE retires_at IS NOT NULL")

    async def is_destroyed() -> bool:
        return bool((await push_get(client, ids=[old["id"]]))["notFound"])

    await eventually(is_destroyed, seconds=15)
    await add_card(client)
    await posted(sink, "/new", 3)
    assert len(sink.posts_to("/old")) == 2


async def test_a_revoked_token_ends_the_pushes_at_once(
    running: RunningEverything, sink: WebhookSink
) -> None:
    """P-20."""
    client, token_id = await running.user("ada")
    await subscribe(client, url=sink.url("/push"), types=["ContactCard"])
    await posted(sink, "/push", 1)
    await add_card(client)
    await posted(sink, "/push", 2)
    witness, _ = await running.user("grace")
    await subscribe(witness, url=sink.url("/witness"), types=["ContactCard"])
    await posted(sink, "/witness", 1)

    await client.call("ContactCard/get", ids=[])
    await running.revoke(token_id, is_told=False)
    await client.add_card(name={"full": "Ada"})  # the dispatcher remembers the token a moment

    await add_card(witness)
    await posted(sink, "/witness", 2)
    assert len(sink.posts_to("/push")) == 2


async def test_whoever_watches_the_wire_learns_when_but_not_what(
    running: RunningEverything, sink: WebhookSink
) -> None:
    """P-42: nothing hides the time of a push, but padding hides which types changed."""
    client, _ = await running.user("ada")
    await subscribe(client, url=sink.url("/push"), keys=sink.subscribe("/push").keys)
    await posted(sink, "/push", 1)
    for type_ in ("ContactCard", "AddressBook", "ContactCard"):
        if type_ == "ContactCard":
            state = await add_card(client)
        else:
            made = await client.call("AddressBook/set", create={"k": {"name": "More"}})
            state = made["newState"]
        await until_told(sink, f'"{type_}":"{state}"')
    assert len({len(post.body) for post in sink.posts_to("/push")[1:]}) == 1
