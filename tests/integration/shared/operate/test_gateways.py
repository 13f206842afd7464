"""Gateways asked over a real NATS server, about connections on real sockets."""

from collections.abc import AsyncIterator

import pytest

from shared.bus.connection import open_bus
from shared.operate.connections import ConnectionFilter
from shared.operate.gateways import Gateways, NoGatewayError, UnknownConnectionError
from tests.support.eventually import eventually
from tests.support.operated import Operated, operated
from tests.support.servers import NatsServer
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

TARGET = "/jmap/eventsource?types=*&closeafter=no&ping=0"
EVERYTHING = ConnectionFilter()


@pytest.fixture
async def two(nats_url: str) -> AsyncIterator[Operated]:
    async with operated(nats_url) as running:
        running.gateways[0].accounts["bob"] = {"b1"}
        running.gateways[1].accounts["bob"] = {"b1"}
        yield running


async def get(two: Operated, number: int, user: str, target: str = TARGET) -> EventSourceClient:
    return await EventSourceClient.get(
        two.gateways[number].port, target, f"Authorization: Bearer {user}"
    )


async def test_connections_of_all_gateways_are_found_the_newest_first(two: Operated) -> None:
    async with await get(two, 0, "anna"), await get(two, 1, "bob"), await get(two, 0, "bob"):
        listing = await two.operator.find(EVERYTHING)

        assert [one.user for one in listing.connections] == ["bob", "bob", "anna"]
        ids = {gateway.connections.gateway_id for gateway in two.gateways}
        assert {gateway.id for gateway in listing.gateways} == ids
        assert {one.gateway for one in listing.connections} == ids
        assert sum(gateway.connections["sse"] for gateway in listing.gateways) == 3
        assert not listing.silent
        assert not listing.is_more


async def test_only_those_that_are_asked_for_are_found(two: Operated) -> None:
    async with await get(two, 0, "anna"), await get(two, 1, "bob"), await get(two, 0, "bob"):
        listing = await two.operator.find(ConnectionFilter(user="bob"), count=1)
        assert [one.user for one in listing.connections] == ["bob"]
        assert listing.is_more
        none = await two.operator.find(ConnectionFilter(account="b2"))
        assert not none.connections
        assert len(none.gateways) == 2, "its counts are told in any case"


async def test_what_was_sent_to_a_connection_is_shown(two: Operated) -> None:
    async with await get(two, 1, "anna") as client:
        cursor = two.gateways[1].fan_out.append("a1", Email="s1")
        await client.state()
        [facts] = (await two.operator.find(EVERYTHING)).connections

        details = await two.operator.show(facts.id)

        assert (details.messages, details.told_cursor, details.outcome) == (1, cursor, "fresh")
        assert details.accounts == ("a1", "a2")
        [moment] = details.moments
        assert (moment.kind, moment.changed) == ("state", {"a1": {"Email": "s1"}})


async def test_one_that_has_just_ended_is_shown_too(two: Operated) -> None:
    async with await get(two, 0, "anna") as client:
        two.gateways[0].fan_out.append("a1", Email="s1")
        await client.state()
        [facts] = (await two.operator.find(EVERYTHING)).connections
    await eventually(lambda: not len(two.gateways[0].connections))

    details = await two.operator.show(facts.id)

    assert details.end_reason == "client"
    assert details.ended_at is not None
    assert [moment.kind for moment in details.moments] == ["state"]
    ended = await two.operator.find(EVERYTHING, ended=True)
    assert [one.id for one in ended.connections] == [facts.id]


async def test_a_connection_that_never_was_is_unknown(two: Operated) -> None:
    here = two.gateways[0].connections.gateway_id
    with pytest.raises(UnknownConnectionError, match="open, or ended lately"):
        await two.operator.show(f"{here}-zzz")
    with pytest.raises(UnknownConnectionError, match="no gateway aaaaaa answers"):
        await two.operator.show("aaaaaa-1")


async def test_without_a_gateway_the_server_says_so_at_once(fresh_nats: NatsServer) -> None:
    async with open_bus(fresh_nats.url, name="operator") as bus:
        with pytest.raises(NoGatewayError):
            await Gateways(bus, by="ada", answer_seconds_max=60).find(EVERYTHING)
