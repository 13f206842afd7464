"""What happens on connections, followed live; and everybody who may go away meanwhile."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest

from services.gateway.record import Note
from services.gateway.watches import WAITING_MAX, WATCHES_MAX
from shared.operate.connections import (
    ASK_SUBJECT,
    ConnectionFilter,
    Watched,
    WatchedMoment,
    decode_answer,
)
from shared.operate.gateways import RefusedByGatewayError, Silence, Watching
from tests.support.eventually import PATIENCE, eventually
from tests.support.operated import SOON, Operated, operated
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration

ANNA = ConnectionFilter(user="anna")


@pytest.fixture
async def two(nats_url: str) -> AsyncIterator[Operated]:
    async with operated(nats_url) as running:
        yield running


async def until(watching: Watching, *kinds: str) -> list[WatchedMoment]:
    """All moments until these are among them."""
    moments: list[WatchedMoment] = []
    async with asyncio.timeout(10 * PATIENCE):
        while Counter(kinds) - Counter(one.moment.kind for one in moments):
            answer = await anext(watching)
            assert isinstance(answer, Watched)
            moments.extend(answer.moments)
    return moments


async def begun(two: Operated) -> bool:
    return all(len(gateway.watches) for gateway in two.gateways)


async def test_what_is_sent_to_a_user_is_followed_on_every_gateway(two: Operated) -> None:
    first, second = two.gateways
    async with await first.get("anna") as one, two.operator.watching(ANNA) as watching:
        await eventually(lambda: begun(two))
        first.gateway.fan_out.append("a1", Email="s1")
        await one.state()
        async with await second.get("anna") as other, await second.get("bob"):
            second.gateway.fan_out.append("a2", Email="s2")
            await other.state()
            second.gateway.fan_out.append("b1", Email="s3")
        moments = await until(watching, "state", "state", "ended")

    seen = {(one.connection[:6], one.moment.kind) for one in moments}
    assert {one.user for one in moments} == {"anna"}
    assert seen == {
        (first.id, "state"),
        (second.id, "opened"),
        (second.id, "joined"),
        (second.id, "state"),
        (second.id, "ended"),
    }
    told = [one.moment.changed for one in moments if one.moment.kind == "state"]
    assert {"a1": {"Email": "s1"}} in told
    assert {"a2": {"Email": "s2"}} in told


async def test_who_stops_to_watch_is_forgotten_at_once(two: Operated) -> None:
    async with await two.gateways[0].get("anna"):
        async with two.operator.watching(ANNA):
            await eventually(lambda: begun(two))
        await eventually(lambda: not any(len(one.watches) for one in two.gateways))


async def test_who_vanishes_is_forgotten_when_the_lease_ends(two: Operated) -> None:
    body = b'{"ask":"watch","watch":"w","filter":{"user":"anna"},"by":"x","leaseSeconds":0.3}'
    async with await two.gateways[0].get("anna"):
        answer = decode_answer(await two.bus.request(ASK_SUBJECT, body, timeout_seconds=5))
        assert isinstance(answer, Watched)
        await eventually(lambda: begun(two))
        await eventually(lambda: not any(len(one.watches) for one in two.gateways))
        [channel] = two.gateways[0].gateway.connections
        assert channel.ring is None or not channel.ring.entries()


async def test_a_watch_that_is_renewed_goes_on_beyond_its_lease(two: Operated) -> None:
    gateway = two.gateways[0]
    async with await gateway.get("anna") as client, two.operator.watching(ANNA) as watching:
        end = asyncio.get_running_loop().time() + 2 * SOON.lease_seconds
        while asyncio.get_running_loop().time() < end:
            assert isinstance(await anext(watching), Watched)
        gateway.gateway.fan_out.append("a1", Email="s1")
        await client.state()
        assert [one.moment.kind for one in await until(watching, "state")] == ["state"]


async def test_a_gateway_that_falls_silent_is_told_of(two: Operated) -> None:
    first, second = two.gateways
    async with await first.get("anna"), two.operator.watching(ANNA) as watching:
        await eventually(lambda: begun(two))
        heard = set[str]()
        while heard != {first.id, second.id}:
            answer = await anext(watching)
            assert isinstance(answer, Watched)
            heard.add(answer.gateway)
        first.fall_silent()
        async with asyncio.timeout(10 * PATIENCE):
            while not isinstance(answer := await anext(watching), Silence):
                pass
        assert answer.gateway == first.id
        again = await anext(watching)
        assert isinstance(again, Watched)
        assert again.gateway == second.id, "the other one goes on"


async def test_a_watch_survives_a_restart_of_nats(fresh_nats: NatsServer) -> None:
    async with operated(fresh_nats.url, count=1) as running:
        [gateway] = running.gateways
        async with await gateway.get("anna") as client, running.operator.watching(ANNA) as watching:
            await eventually(lambda: begun(running))
            fresh_nats.kill()
            await eventually(lambda: not gateway.bus.is_connected)
            gateway.gateway.fan_out.append("a1", Email="s1")
            await client.state()
            fresh_nats.start()
            await eventually(lambda: gateway.bus.is_connected)
            gateway.gateway.fan_out.append("a1", Email="s2")
            await client.state()

            moments = await until(watching, "state", "state")

    assert [one.moment.changed for one in moments] == [
        {"a1": {"Email": "s1"}},
        {"a1": {"Email": "s2"}},
    ]


async def test_a_flood_is_cut_and_the_operator_knows(two: Operated) -> None:
    gateway = two.gateways[0]
    async with await gateway.get("anna"), two.operator.watching(ANNA) as watching:
        await eventually(lambda: begun(two))
        [channel] = gateway.gateway.connections
        await eventually(lambda: channel.ring is not None)
        for number in range(WAITING_MAX + 500):
            channel.tell(Note(float(number), "ping"))
        told = dropped = 0
        async with asyncio.timeout(10 * PATIENCE):
            while told + dropped < WAITING_MAX + 500:
                answer = await anext(watching)
                assert isinstance(answer, Watched)
                told, dropped = told + len(answer.moments), dropped + answer.dropped

    assert (told, dropped) == (WAITING_MAX, 500)
    assert watching.lost_messages == 0


async def test_operators_who_watch_are_not_more_than_a_gateway_bears(two: Operated) -> None:
    for number in range(WATCHES_MAX):
        body = {"ask": "watch", "watch": str(number), "filter": {"user": "anna"}, "by": "x"}
        await two.bus.request(ASK_SUBJECT, msgspec.json.encode(body), timeout_seconds=5)
    await eventually(lambda: all(len(one.watches) == WATCHES_MAX for one in two.gateways))
    async with two.operator.watching(ANNA) as watching:
        with pytest.raises(RefusedByGatewayError, match="too many operators watch"):
            await anext(watching)


async def test_a_client_that_takes_nothing_is_seen_to_stall(two: Operated) -> None:
    gateway = two.gateways[0]
    async with await gateway.get("anna"), two.operator.watching(ANNA) as watching:
        await eventually(lambda: begun(two))
        [channel] = gateway.gateway.connections
        await eventually(lambda: channel.ring is not None)
        channel.pause_writing()
        gateway.gateway.fan_out.append("a1", Email="s1")
        gateway.gateway.fan_out.append("a1", Email="s2")
        await until(watching, "stalled")
        [stalled] = (await two.operator.find(ConnectionFilter(is_stalled=True))).connections
        assert (stalled.pending, stalled.messages) == (1, 0)
        assert stalled.stalled_seconds is not None
        details = await two.operator.show(stalled.id)
        assert details.pending_because == "stalled"
        assert details.pending_states == {"a1": {"Email": "s2"}}

        channel.resume_writing()

        [state] = [one.moment for one in await until(watching, "state")]
        assert (state.merged, state.changed) == (2, {"a1": {"Email": "s2"}})
