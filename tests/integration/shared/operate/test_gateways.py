"""Gateways asked over a real NATS server, about connections on real sockets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from services.gateway.admission import Admission, Limits
from services.gateway.asked import QUESTIONS_AT_ONCE
from services.gateway.event_source import EventSourceChannel
from services.gateway.push_connection import PushConnection, PushOptions
from shared.bus.connection import open_bus
from shared.operate.connections import (
    ASK_SUBJECT,
    HERE_SUBJECT,
    ConnectionFilter,
    ListConnections,
    Page,
    Refused,
    decode_answer,
    encode_question,
)
from shared.operate.gateways import (
    Gateways,
    NoGatewayError,
    RefusedByGatewayError,
    UnknownConnectionError,
)
from tests.support.eventually import eventually
from tests.support.gateway import credential_of
from tests.support.operated import EVERYTHING, SOON, Operated, operated
from tests.support.servers import NatsServer
from tests.support.websocket_talk import DISABLE, ENABLE, asking

pytestmark = pytest.mark.integration


@pytest.fixture
async def two(nats_url: str) -> AsyncIterator[Operated]:
    async with operated(nats_url) as running:
        yield running


async def test_connections_of_all_gateways_are_found_the_newest_first(two: Operated) -> None:
    first, second = two.gateways
    async with await first.get("anna"), await second.get("bob"), await first.get("bob"):
        listing = await two.operator.find(EVERYTHING)

    opened = [one.opened_at for one in listing.connections]
    assert opened == sorted(opened, reverse=True)
    # Of one gateway; between two the clocks' milliseconds decide, and these came within a few.
    assert [one.user for one in listing.connections if one.gateway == first.id] == ["bob", "anna"]
    assert [one.user for one in listing.connections if one.gateway == second.id] == ["bob"]
    assert {gateway.id for gateway in listing.gateways} == {first.id, second.id}
    assert sum(gateway.connections["sse"] for gateway in listing.gateways) == 3
    assert not listing.silent
    assert not listing.is_more


async def test_only_those_that_are_asked_for_are_found(two: Operated) -> None:
    first, second = two.gateways
    async with await first.get("anna"), await second.get("bob"), await first.get("bob"):
        listing = await two.operator.find(ConnectionFilter(user="bob"), count=1)
        assert [one.user for one in listing.connections] == ["bob"]
        assert listing.is_more
        none = await two.operator.find(ConnectionFilter(account="b2"))
        assert not none.connections
        assert len(none.gateways) == 2, "its counts are told in any case"


async def test_what_was_sent_to_a_connection_is_shown(two: Operated) -> None:
    gateway = two.gateways[1]
    async with await gateway.get("anna") as client:
        cursor = gateway.gateway.fan_out.append("a1", Email="s1")
        await client.state()

        details = await two.only_connection()

    assert (details.messages, details.told_cursor, details.outcome) == (1, cursor, "fresh")
    assert details.accounts == ("a1", "a2")
    [moment] = details.moments
    assert (moment.kind, moment.changed) == ("state", {"a1": {"Email": "s1"}})


async def test_a_websocket_that_did_not_enable_push_is_told_apart(two: Operated) -> None:
    gateway = two.gateways[0]
    async with await gateway.connect("anna") as client:
        details = await two.only_connection()
        assert (details.transport, details.is_listening, details.types) == ("websocket", False, ())

        client.send({**ENABLE, "dataTypes": ["Email"], "pushState": "m.1"})
        await eventually(lambda: gateway.gateway.connections.joined.total() == 1)
        client.send(asking("r1"))
        client.send(asking("r2"))
        for _ in range(2):
            assert (await client.message())["@type"] == "Response"
        details = await two.only_connection()

        assert (details.is_listening, details.types, details.asked_cursor) == (
            True,
            ("Email",),
            "m.1",
        )
        [responses] = details.moments
        assert (responses.kind, responses.count, responses.detail) == ("responses", 2, "request r2")
        assert responses.octets
        client.send(DISABLE)
        client.send({**ENABLE, "pushState": "m.2"})
        await eventually(lambda: gateway.gateway.connections.joined.total() == 2)

        _, *later = (await two.only_connection()).moments

        told = [(moment.kind, moment.cursor, moment.detail) for moment in later]
        assert told[:2] == [("asked", None, "no pushes"), ("asked", "m.2", "all types")]
        assert told[2][:2] == ("joined", "m.2")


async def test_a_websocket_that_presents_no_cursor_joins_afresh(two: Operated) -> None:
    gateway = two.gateways[0]
    gateway.gateway.fan_out.append("a1", Email="s1")
    async with await gateway.connect("anna") as client:
        client.send(ENABLE)
        await eventually(lambda: gateway.gateway.connections.joined.total() == 1)
        details = await two.only_connection()

    assert (details.outcome, details.asked_cursor, details.missed) == ("fresh", None, 0)


async def test_one_that_has_just_ended_is_shown_too(two: Operated) -> None:
    gateway = two.gateways[0]
    async with await gateway.get("anna") as client:
        gateway.gateway.fan_out.append("a1", Email="s1")
        await client.state()
        connection = (await two.only_connection()).id
    await eventually(lambda: not len(gateway.gateway.connections))

    details = await two.operator.show(connection)

    assert details.end_reason == "client"
    assert details.ended_at is not None
    assert [moment.kind for moment in details.moments] == ["state"]
    ended = await two.operator.find(EVERYTHING, ended=True)
    assert [one.id for one in ended.connections] == [connection]


async def test_a_connection_that_never_was_is_unknown(two: Operated) -> None:
    with pytest.raises(UnknownConnectionError, match="open, or ended lately"):
        await two.operator.show(f"{two.gateways[0].id}-zzz")
    with pytest.raises(UnknownConnectionError, match="no gateway aaaaaa answers"):
        await two.operator.show("aaaaaa-1")


async def test_one_is_closed_and_the_others_stay(two: Operated) -> None:
    first, second = two.gateways
    async with await first.get("anna") as closed, await second.get("anna") as kept:
        listing = await two.operator.find(EVERYTHING)
        [meant] = [one.id for one in listing.connections if one.gateway == first.id]

        effect = await two.operator.close(ConnectionFilter(connection=meant), reason="old client")

        assert (effect.connections, effect.count, effect.silent) == ((meant,), 1, ())
        last = await closed.body()
        assert last.startswith(b"c\r\nretry: "), "so that many who are closed do not come at once"
        assert last.endswith(b"0\r\n\r\n")
        assert await kept.hears_nothing()
    details = await two.operator.show(meant)
    assert (details.end_reason, details.ended_by) == ("operator", "ada@test (old client)")
    again = await two.operator.close(ConnectionFilter(connection=meant))
    assert again.count == 0


async def test_all_of_a_user_are_closed_on_every_gateway(two: Operated) -> None:
    first, second = two.gateways
    async with (
        await second.connect("anna") as socket,
        await first.get("anna") as stream,
        await first.get("bob") as other,
    ):
        effect = await two.operator.close(ConnectionFilter(user="anna"))

        assert effect.count == 2
        assert (await stream.body()).endswith(b"0\r\n\r\n")
        assert await socket.close_code() == 1012
        assert await other.hears_nothing()


async def test_a_resynchronised_one_is_told_everything_again(two: Operated) -> None:
    gateway = two.gateways[0]
    gateway.gateway.fan_out.append("a1", Email="s1")
    gateway.gateway.fan_out.append("a2", Mailbox="s2")
    async with await gateway.get("anna") as client:
        assert await client.hears_nothing()
        connection = (await two.only_connection()).id

        effect = await two.operator.resync(ConnectionFilter(connection=connection))

        assert effect.connections == (connection,)
        assert (await client.state())[1] == {"a1": {"Email": "s1"}, "a2": {"Mailbox": "s2"}}
        kinds = [moment.kind for moment in (await two.only_connection()).moments]
        assert kinds == ["resynchronised", "joined", "state"]


async def test_a_websocket_is_resynchronised_if_it_listens(two: Operated) -> None:
    gateway = two.gateways[0]
    gateway.gateway.fan_out.append("a1", Email="s1")
    async with await gateway.connect("anna") as client:
        assert (await two.operator.resync(ConnectionFilter(user="anna"))).count == 0
        client.send(ENABLE)
        await eventually(lambda: gateway.gateway.connections.joined.total() == 1)

        assert (await two.operator.resync(ConnectionFilter(user="anna"))).count == 1

        assert (await client.message())["changed"] == {"a1": {"Email": "s1"}}


async def test_nothing_is_done_to_everybody(two: Operated) -> None:
    async with await two.gateways[0].get("anna") as client:
        for act in (two.operator.close, two.operator.resync):
            with pytest.raises(RefusedByGatewayError, match="not said which"):
                await act(EVERYTHING)
        async with two.operator.watching(EVERYTHING) as watching:
            with pytest.raises(RefusedByGatewayError, match="not said which"):
                await anext(watching)
        assert await client.hears_nothing()


async def test_without_a_gateway_the_server_says_so_at_once(fresh_nats: NatsServer) -> None:
    async with open_bus(fresh_nats.url, name="operator") as bus:
        patient = msgspec.structs.replace(SOON, answer_seconds_max=600)
        with pytest.raises(NoGatewayError):
            await Gateways(bus, by="ada", waits=patient).find(EVERYTHING)


async def test_a_gateway_that_hangs_is_named(two: Operated) -> None:
    await two.bus.publish(HERE_SUBJECT, b"hanging")  # as it said before it hung

    def is_known(listing: Any) -> bool:
        return all("hanging" in gateway.peers for gateway in listing.gateways)

    await eventually(lambda: _found(two, is_known))
    listing = await two.operator.find(EVERYTHING)

    assert listing.silent == ("hanging",)
    assert len(listing.gateways) == 2
    await two.bus.publish(HERE_SUBJECT, b"-hanging")  # as it says when it ends in good order
    await eventually(lambda: _found(two, lambda one: not one.silent))


async def _found(two: Operated, is_wanted: Any) -> bool:
    return bool(is_wanted(await two.operator.find(EVERYTHING)))


async def test_what_is_no_question_is_answered_with_a_refusal(two: Operated) -> None:
    for body in (b"", b"{}", b'{"ask":"close"}', b"\xff" * 1000):
        answer = await two.bus.request(ASK_SUBJECT, body, timeout_seconds=5)
        assert isinstance(decode_answer(answer), Refused)
    await two.bus.publish(ASK_SUBJECT, b"nobody wants an answer")
    assert len((await two.operator.find(EVERYTHING)).gateways) == 2


async def test_very_many_connections_are_listed_while_pushes_go_on(two: Operated) -> None:
    gateway = two.gateways[0].gateway
    _crowd(two, 10_000)
    async with await two.gateways[0].get("anna") as client:
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(two.operator.find(EVERYTHING, count=20_000))
            for number in range(20):
                gateway.fan_out.append("a1", Email=f"s{number}")
                await asyncio.sleep(0.01)
        while (await client.state())[1] != {"a1": {"Email": "s19"}}:
            pass
    listing = asked.result()

    assert len(listing.connections) == 10_001
    assert len({one.id for one in listing.connections}) == 10_001
    assert not listing.silent
    few = await two.operator.find(ConnectionFilter(user="u77"))
    assert [one.user for one in few.connections] == ["u77"]
    newest = await two.operator.find(EVERYTHING, count=3)
    assert [one.user for one in newest.connections] == ["u9999", "u9998", "u9997"]
    assert newest.is_more


async def test_too_many_questions_at_once_are_refused_and_not_kept(two: Operated) -> None:
    _crowd(two, 3000)
    question = encode_question(ListConnections(filter=ConnectionFilter(user="u1")))
    answers: list[Any] = []

    async def take(message: Any) -> None:
        answers.append(decode_answer(message.data))

    inbox = two.bus.client.new_inbox()
    async with two.bus.listening(inbox, take):
        for _ in range(200):
            await two.bus.publish(ASK_SUBJECT, question, reply=inbox)
        await eventually(lambda: len(answers) == 400)
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert refused
    assert {answer.reason for answer in refused} == {"too much is asked at once"}
    assert all(answer.is_busy for answer in refused)
    assert sum(isinstance(answer, Page) for answer in answers) >= QUESTIONS_AT_ONCE
    assert (await two.operator.find(ConnectionFilter(user="u1"))).connections


def _crowd(two: Operated, count: int) -> None:
    """Connections without sockets."""
    connections = two.gateways[0].gateway.connections
    admission = Admission(Limits(connections_per_address_max=count))
    options = PushOptions()
    for number in range(count):
        push = PushConnection(options, connections.now())
        place = admission.take("192.0.2.1")
        connections.add(EventSourceChannel(connections, push, credential_of(f"u{number}"), place))
