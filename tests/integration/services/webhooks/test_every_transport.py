"""One change on all three transports of one process, the webhooks over HTTPS with its own CA."""

import functools
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from services.webhooks.settings import WebhookSettings
from tests.support.certificate import Certificate, make_certificate
from tests.support.dispatcher import JmapClient, Json
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.push_subscriptions import subscribe
from tests.support.servers import NatsServer
from tests.support.webhook_sink import Post, WebhookSink, webhook_sink
from tests.support.websocket import WebSocketClient
from tests.support.websocket_talk import ENABLE
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

STREAM = "/jmap/eventsource?types=*&closeafter=no&ping=0"
WEEK_SECONDS = 7 * 24 * 3600


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def sink(certificate: Certificate) -> Iterator[WebhookSink]:
    with webhook_sink(certificate) as sink:
        yield sink


@pytest.fixture
async def running(
    fresh_nats: NatsServer, postgres_dsn: str, certificate: Certificate
) -> AsyncIterator[RunningEverything]:
    settings = WebhookSettings(ca=certificate.path)
    async with everything_running(fresh_nats.url, postgres_dsn, webhooks=settings) as everything:
        yield everything


async def verified(running: RunningEverything, count: int) -> None:
    async def are_verified() -> bool:
        found: int = await running.everything.pool.fetchval(
            "SELECT count(*) FROM push_subscriptions WHERE verified_at IS NOT NULL"
        )
        return found == count

    await eventually(are_verified)


def authorized(client: JmapClient) -> str:
    return f"Authorization: Bearer {client.token}"


async def listening(running: RunningEverything, client: WebSocketClient) -> None:
    joined = running.everything.gateway.connections.joined
    before = sum(joined.values())
    client.send(ENABLE)
    await eventually(lambda: sum(joined.values()) > before)


def has_posts(sink: WebhookSink, path: str, count: int) -> bool:
    return len(sink.posts_to(path)) == count


def change_of(post: Post) -> Json:
    change: Json = json.loads(post.content)
    return change


async def test_one_change_is_the_same_state_change_on_every_transport(
    running: RunningEverything, sink: WebhookSink
) -> None:
    """P-17, P-19, P-34, P-41: with keys and without, each verified by its answer first."""
    client, _ = await running.user("ada")
    keys = sink.subscribe("/sealed").keys
    created = {
        "/plain": await subscribe(client, url=sink.url("/plain")),
        "/sealed": await subscribe(client, url=sink.url("/sealed"), keys=keys),
    }
    await verified(running, 2)
    async with (
        await EventSourceClient.get(running.port, STREAM, authorized(client)) as stream,
        await WebSocketClient.connect(running.port, authorized(client)) as socket,
    ):
        await listening(running, socket)
        await client.add_card(name={"full": "Ada"})
        _, changed = await stream.state()
        message = await socket.message()

    assert changed[client.account_id]["ContactCard"]
    whole = {"@type": "StateChange", "changed": changed}
    assert message.pop("pushState")
    assert message == whole
    for path, subscription in created.items():
        await eventually(functools.partial(has_posts, sink, path, 2))
        asked, told = sink.posts_to(path)
        assert change_of(asked)["@type"] == "PushVerification"
        assert change_of(asked)["pushSubscriptionId"] == subscription["id"]
        assert change_of(told) == whole
        for post in (asked, told):
            check_head(post, is_sealed=path == "/sealed")


def check_head(post: Post, *, is_sealed: bool) -> None:
    assert post.method == "POST"
    assert post.headers["content-type"] == "application/json"
    assert 0 < int(post.headers["ttl"]) <= WEEK_SECONDS
    assert post.headers["urgency"] in ("very-low", "low", "normal", "high")
    assert post.headers["authorization"].startswith("vapid t=")
    assert post.headers.get("content-encoding") == ("aes128gcm" if is_sealed else None)
    assert (b"@type" in post.body) is not is_sealed


async def test_an_endpoint_whose_authority_is_unknown_is_sent_nothing(
    fresh_nats: NatsServer, postgres_dsn: str, sink: WebhookSink
) -> None:
    async with everything_running(fresh_nats.url, postgres_dsn) as running:
        client, _ = await running.user("ada")
        created = await subscribe(client, url=sink.url("/plain"))

        async def outcome() -> str | None:
            found: str | None = await running.everything.pool.fetchval(
                "SELECT outcome FROM delivery_attempts WHERE subscription_id = $1", created["id"]
            )
            return found

        assert await eventually(outcome) == "tls_failed"
    assert not sink.posts
