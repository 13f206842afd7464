"""Authorisation over time, on real servers: tokens end, grants come and go, tickets are used."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.dispatcher import PRINCIPALS, JmapClient
from tests.support.eventually import PATIENCE, eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.servers import NatsServer
from tests.support.websocket import WebSocketClient
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

CARDS = "/jmap/eventsource?types=ContactCard"

SOON_SECONDS = 2.0 * PATIENCE


@pytest.fixture
async def running(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[RunningEverything]:
    async with everything_running(fresh_nats.url, postgres_dsn) as everything:
        yield everything


async def stream(running: RunningEverything, client: JmapClient) -> EventSourceClient:
    opened = await EventSourceClient.get(
        running.port, CARDS, f"Authorization: Bearer {client.token}"
    )
    assert opened.status == 200
    return opened


async def ticket(client: JmapClient) -> str:
    response = await client.http.post("/jmap/ticket")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    left = datetime.fromisoformat(body["expires"]) - datetime.now(UTC)
    assert timedelta(0) < left <= timedelta(seconds=61)
    return str(body["ticket"])


async def test_a_revoked_token_ends_its_streams_within_two_seconds(
    running: RunningEverything,
) -> None:
    client, token_id = await running.user("anna")
    other, _ = await running.user("bob")
    authorization = f"Authorization: Bearer {client.token}"
    async with (
        await WebSocketClient.connect(running.port, authorization) as socket,
        await stream(running, client) as ended,
        await stream(running, other) as untouched,
    ):
        start = time.monotonic()
        await running.revoke(token_id)

        assert await ended.chunk() == b""
        assert await socket.close_code() == 1008
        assert time.monotonic() - start < SOON_SECONDS
        await other.add_card(name={"full": "Bob's"})
        assert (await untouched.state())[1].keys() == {other.account_id}
    async with await EventSourceClient.get(
        running.port, "/jmap/eventsource", authorization
    ) as refused:
        assert refused.status == 401


async def test_a_lost_message_of_a_revocation_is_made_up_for_by_the_sweep(
    running: RunningEverything,
) -> None:
    client, token_id = await running.user("anna")
    async with await stream(running, client) as ended:
        await running.revoke(token_id, is_told=False)
        await running.everything.gateway.look_at_all_again()

        assert await ended.chunk() == b""


async def test_a_token_that_expires_closes_its_stream_just_before(
    running: RunningEverything,
) -> None:
    client, _ = await running.user("anna", ttl=timedelta(seconds=4))
    expires_at = time.monotonic() + 4
    async with await stream(running, client) as ended:
        assert await ended.chunk() == b""
        assert expires_at - 4 < time.monotonic() < expires_at


async def test_a_new_grant_widens_a_stream_and_its_changes_arrive(
    running: RunningEverything,
) -> None:
    anna, _ = await running.user("anna")
    bob, _ = await running.user("bob")
    async with await stream(running, anna) as seen:
        await bob.add_card(name={"full": "before"})
        await running.grant(bob.account_id, "anna")
        await bob.add_card(name={"full": "after"})

        changed: dict[str, dict[str, str]] = {}
        newest = (await bob.call("ContactCard/get", ids=[]))["state"]
        while changed.get(bob.account_id, {}).get("ContactCard") != newest:
            for account_id, states in (await seen.state())[1].items():
                changed.setdefault(account_id, {}).update(states)
        assert anna.account_id not in changed


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_removed_grant_narrows_a_stream(
    running: RunningEverything, *, is_told: bool
) -> None:
    anna, _ = await running.user("anna")
    bob, _ = await running.user("bob")
    await running.grant(bob.account_id, "anna")
    async with await stream(running, anna) as seen:
        await bob.add_card(name={"full": "seen"})
        assert bob.account_id in (await seen.state())[1]
        await running.ungrant(bob.account_id, "anna", is_told=is_told)
        if not is_told:
            await running.everything.gateway.look_at_all_again()
        connections = running.everything.gateway.connections
        await eventually(
            lambda: all(bob.account_id not in c.account_ids for c in connections), seconds=2
        )
        await bob.add_card(name={"full": "not seen"})
        await anna.add_card(name={"full": "mine"})

        assert (await seen.state())[1].keys() == {anna.account_id}


async def follows(running: RunningEverything, client: JmapClient, accounts: set[str]) -> None:
    """Soon the stream and the session of the client have exactly these accounts."""
    [channel] = running.everything.gateway.connections
    await eventually(lambda: channel.account_ids == accounts, seconds=SOON_SECONDS)
    session = (await client.http.get("/jmap/session")).json()
    assert session["accounts"].keys() == accounts


async def tells_of(seen: EventSourceClient, account: JmapClient) -> None:
    """The stream tells of the newest state of its cards, and of no other account before."""
    await account.add_card(name={"full": "x"})
    newest = (await account.call("ContactCard/get", ids=[]))["state"]
    changed: dict[str, dict[str, str]] = {}
    while changed.get(account.account_id, {}).get("ContactCard") != newest:
        changed = (await seen.state())[1]
        assert changed.keys() == {account.account_id}


async def test_a_stream_follows_what_is_shared_over_jmap(running: RunningEverything) -> None:
    anna, _ = await running.user("anna")
    bob, _ = await running.user("bob")
    bob.using = [*bob.using, PRINCIPALS]
    [anna_id] = (await bob.call("Principal/query", filter={"name": "anna"}))["ids"]
    book = await bob.address_book()
    async with await stream(running, anna) as seen:
        await tells_of(seen, anna)
        share = {"shareWith": {anna_id: {"mayRead": True}}}
        await bob.call("AddressBook/set", update={book: share})
        await follows(running, anna, {anna.account_id, bob.account_id})
        await tells_of(seen, bob)
        await bob.call("AddressBook/set", update={book: {f"shareWith/{anna_id}": None}})
        await follows(running, anna, {anna.account_id})
        await bob.add_card(name={"full": "not seen"})
        await tells_of(seen, anna)


async def test_p08_nothing_is_pushed_of_an_account_in_which_nothing_is_subscribed_to(
    running: RunningEverything,
) -> None:
    anna, _ = await running.user("anna")
    bob, _ = await running.user("bob")
    await running.grant(bob.account_id, "anna")
    book = await bob.address_book()

    async def subscribe(*, is_wanted: bool) -> None:
        update = {book: {"isSubscribed": is_wanted}}
        await anna.call("AddressBook/set", accountId=bob.account_id, update=update)

    async with await stream(running, anna) as seen:
        await subscribe(is_wanted=False)
        await follows(running, anna, {anna.account_id})
        await bob.add_card(name={"full": "not seen"})
        await tells_of(seen, anna)
        await subscribe(is_wanted=True)
        await follows(running, anna, {anna.account_id, bob.account_id})
        await tells_of(seen, bob)


async def test_p5a_a_ticket_opens_one_stream_and_is_as_good_as_its_token(
    running: RunningEverything,
) -> None:
    client, token_id = await running.user("anna")
    once = await ticket(client)
    target = f"/jmap/eventsource?types=ContactCard&closeafter=no&ping=0&ticket={once}"
    async with await EventSourceClient.get(running.port, target) as opened:
        assert opened.status == 200
        async with await EventSourceClient.get(running.port, target) as again:
            assert again.status == 401
        target = f"/jmap/ws?ticket={await ticket(client)}"
        async with await WebSocketClient.connect(running.port, target=target) as socket:
            assert socket.status == 101
            unused = await ticket(client)
            await running.revoke(token_id)
            assert await opened.chunk() == b""
            assert await socket.close_code() == 1008
    async with await EventSourceClient.get(
        running.port, f"/jmap/eventsource?ticket={unused}"
    ) as refused:
        assert refused.status == 401


async def test_of_two_who_use_a_ticket_at_once_one_wins(running: RunningEverything) -> None:
    client, _ = await running.user("anna")
    target = f"/jmap/eventsource?ticket={await ticket(client)}"

    both = await asyncio.gather(*(EventSourceClient.get(running.port, target) for _ in range(5)))

    assert sorted(one.status for one in both) == [200, 401, 401, 401, 401]
    for one in both:
        one.writer.transport.abort()


async def test_tickets_are_bounded_and_need_a_token(running: RunningEverything) -> None:
    client, _ = await running.user("anna")
    assert (await client.http.get("/jmap/ticket")).status_code == 405
    anonymous = await client.http.post("/jmap/ticket", headers={"Authorization": ""})
    assert anonymous.status_code == 401
    for _ in range(100):
        await client.http.post("/jmap/ticket")

    refused = await client.http.post("/jmap/ticket")

    assert refused.status_code == 429
    assert "retry-after" in refused.headers


async def test_pages_of_any_origin_may_ask_and_may_know_why_not(running: RunningEverything) -> None:
    client, _ = await running.user("anna")
    page = {"Origin": "https://app.example", "Authorization": ""}
    for path, http_method in (("/jmap/ticket", "POST"), ("/jmap/eventsource", "GET")):
        allowed = await client.http.options(
            path, headers={**page, "Access-Control-Request-Method": http_method}
        )
        assert allowed.status_code == 204
        assert "Authorization" in allowed.headers["access-control-allow-headers"]
        assert "Last-Event-ID" in allowed.headers["access-control-allow-headers"]
        refused = await client.http.request(http_method, path, headers=page)
        assert refused.status_code == 401
        for answer in (allowed, refused):
            assert answer.headers["access-control-allow-origin"] == "*"
    given = await client.http.post("/jmap/ticket")
    assert given.headers["access-control-allow-origin"] == "*"


async def test_w01_the_session_tells_where_the_websocket_is(running: RunningEverything) -> None:
    client, _ = await running.user("anna")
    session = (await client.http.get("/jmap/session")).json()

    assert session["capabilities"]["urn:ietf:params:jmap:websocket"] == {
        "url": running.url.replace("http:", "ws:") + "/jmap/ws",
        "supportsPush": True,
    }


async def test_p50_the_session_has_the_event_source_as_a_template(
    running: RunningEverything,
) -> None:
    client, _ = await running.user("anna")
    session = (await client.http.get("/jmap/session")).json()

    assert session["eventSourceUrl"] == (
        running.url + "/jmap/eventsource?types={types}&closeafter={closeafter}&ping={ping}"
    )
