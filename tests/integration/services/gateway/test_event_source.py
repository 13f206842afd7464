"""RFC 8620 section 7.3 over a real socket; the numbers are those of the project's checklist."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.gateway.settings import GatewaySettings
from shared.log.appender import LogUnavailableError
from tests.support.eventually import eventually
from tests.support.gateway import AUTHORIZATION, GatewayOfTest, gateway_running
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

ALL = "/jmap/eventsource?types=*&closeafter=no&ping=0"


@pytest.fixture(params=["handoff", "asgi"])
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[GatewayOfTest]:
    async with gateway_running(with_handoff=request.param == "handoff") as running:
        yield running


async def get(gateway: GatewayOfTest, target: str, *headers: str) -> EventSourceClient:
    return await EventSourceClient.get(gateway.port, target, AUTHORIZATION, *headers)


async def test_the_head_comes_at_once_and_is_that_of_an_event_stream(
    gateway: GatewayOfTest,
) -> None:
    async with await get(gateway, ALL) as client:
        assert client.status == 200
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-store"
        assert client.headers["x-accel-buffering"] == "no"
        assert client.headers["access-control-allow-origin"] == "*"
        assert client.headers["transfer-encoding"] == "chunked"
        assert await client.hears_nothing()


async def test_p50_the_request_is_authenticated(gateway: GatewayOfTest) -> None:
    async with await EventSourceClient.get(gateway.port, ALL) as client:
        assert client.status == 401
        assert client.headers["content-type"] == "application/problem+json"
    async with await EventSourceClient.get(
        gateway.port, ALL, "Authorization: Bearer nobody"
    ) as client:
        assert client.status == 401


async def test_p56_p57_a_change_comes_as_a_state_event_with_an_id(gateway: GatewayOfTest) -> None:
    async with await get(gateway, ALL) as client:
        cursor = gateway.fan_out.append("a1", Email="s1", Mailbox="s1")

        assert await client.event() == (
            b"event: state\nid: " + cursor.encode() + b"\n"
            b'data: {"@type":"StateChange","changed":{"a1":{"Email":"s1","Mailbox":"s1"}}}\n\n'
        )


async def test_p51_only_the_types_asked_for_are_pushed(gateway: GatewayOfTest) -> None:
    async with await get(gateway, "/jmap/eventsource?types=Email,Thread") as client:
        gateway.fan_out.append("a1", Mailbox="s1")
        gateway.fan_out.append("a1", Mailbox="s2", Email="s2")

        assert await client.state() == ("m.2", {"a1": {"Email": "s2"}})


async def test_changes_of_accounts_out_of_sight_are_not_pushed(gateway: GatewayOfTest) -> None:
    async with await get(gateway, ALL) as client:
        gateway.fan_out.append("secret", Email="s1")
        gateway.fan_out.append("a2", Email="s2")

        assert await client.state() == ("m.2", {"a2": {"Email": "s2"}})


async def test_p52_close_after_state_ends_the_response_after_the_first_change(
    gateway: GatewayOfTest,
) -> None:
    async with await get(gateway, "/jmap/eventsource?types=*&closeafter=state&ping=0") as client:
        assert await client.hears_nothing(0.1)
        gateway.fan_out.append("a1", Email="s1")

        assert await client.state() == ("m.1", {"a1": {"Email": "s1"}})
        assert await client.chunk() == b""
    await eventually(lambda: len(gateway.connections) == 0)
    assert gateway.fan_out.listeners == 0


async def test_p52_long_polls_miss_nothing_and_do_not_spin(gateway: GatewayOfTest) -> None:
    """Each poll resumes where the last one ended; without a change it waits."""
    target = "/jmap/eventsource?types=*&closeafter=state&ping=0"
    cursor = gateway.fan_out.append("a1", Type0="s0")
    seen: dict[str, str] = {}
    for number in range(1, 6):
        gateway.fan_out.append("a1", **{f"Type{number}": f"s{number}"})
        async with await get(gateway, target, f"Last-Event-ID: {cursor}") as client:
            cursor, changed = await client.state()
            seen |= changed["a1"]
            assert await client.chunk() == b""
    assert seen == {f"Type{number}": f"s{number}" for number in range(1, 6)}
    async with await get(gateway, target, f"Last-Event-ID: {cursor}") as client:
        assert await client.hears_nothing()


async def test_p58_what_was_missed_comes_at_once_and_merged(gateway: GatewayOfTest) -> None:
    since = gateway.fan_out.append("a1", Email="s1")
    gateway.fan_out.append("a1", Email="s2")
    gateway.fan_out.append("a1", Email="s3", Thread="s3")
    gateway.fan_out.append("a2", Email="s4")

    async with await get(gateway, ALL, f"Last-Event-ID: {since}") as client:
        assert await client.state() == (
            "m.4",
            {"a1": {"Email": "s3", "Thread": "s3"}, "a2": {"Email": "s4"}},
        )


async def test_p58_the_cursor_may_be_a_parameter_and_the_header_wins(
    gateway: GatewayOfTest,
) -> None:
    gateway.fan_out.append("a1", Email="s1")
    gateway.fan_out.append("a1", Thread="s2")

    async with await get(gateway, f"{ALL}&lastEventId=m.1") as client:
        assert await client.state() == ("m.2", {"a1": {"Thread": "s2"}})
    async with await get(gateway, f"{ALL}&lastEventId=m.1", "Last-Event-ID: m.2") as client:
        assert await client.hears_nothing()


@pytest.mark.parametrize("cursor", ["garbage", "m.999", "1.foreign.7", "x" * 5000, "%00", "é"])
async def test_p58_a_cursor_that_is_not_understood_gets_the_full_snapshot(
    gateway: GatewayOfTest, cursor: str
) -> None:
    gateway.fan_out.append("a1", Email="s1")
    gateway.fan_out.append("a2", Email="s2")

    async with await get(gateway, ALL, f"Last-Event-ID: {cursor}") as client:
        assert await client.state() == ("m.2", {"a1": {"Email": "s1"}, "a2": {"Email": "s2"}})
    assert gateway.connections.joined["reset"] == 1


async def test_p58_without_a_cursor_nothing_comes_until_something_changes(
    gateway: GatewayOfTest,
) -> None:
    gateway.fan_out.append("a1", Email="s1")
    async with await get(gateway, ALL) as client:
        assert await client.hears_nothing()


async def test_p59_a_client_may_hold_several_connections(gateway: GatewayOfTest) -> None:
    async with await get(gateway, ALL) as one, await get(gateway, ALL) as other:
        gateway.fan_out.append("a1", Email="s1")

        assert await one.state() == await other.state()


async def test_a_burst_is_merged_into_one_event(gateway: GatewayOfTest) -> None:
    async with await get(gateway, ALL) as client:
        for number in range(1, 501):
            gateway.fan_out.append("a1", Email=f"s{number}")

        assert await client.state() == ("m.1", {"a1": {"Email": "s1"}})
        assert await client.state() == ("m.500", {"a1": {"Email": "s500"}})
        assert await client.hears_nothing(0.1)


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("types=&closeafter=no&ping=0", "types"),
        ("types=*&closeafter=maybe&ping=0", "closeafter"),
        ("types=*&closeafter=no&ping=abc", "ping"),
        ("types=*&closeafter=no&ping=-1", "ping"),
    ],
)
async def test_a_bad_variable_gets_a_clear_error(
    gateway: GatewayOfTest, query: str, says: str
) -> None:
    async with await get(gateway, f"/jmap/eventsource?{query}") as client:
        assert client.status == 400
        assert client.headers["content-type"] == "application/problem+json"
        body = await client.reader.readexactly(int(client.headers["content-length"]))
        assert says in body.decode()
    assert gateway.fan_out.listeners == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(gateway: GatewayOfTest, method: str) -> None:
    client = await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION, method=method)
    async with client:
        assert client.status == 405
        assert client.headers["allow"] == "GET, HEAD"


async def test_head_answers_the_head_alone(gateway: GatewayOfTest) -> None:
    client = await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION, method="HEAD")
    async with client:
        assert client.status == 200
        assert client.headers["content-type"] == "text/event-stream"
        assert await client.hears_nothing(0.1)
    assert len(gateway.connections) == 0


async def test_a_client_that_goes_is_forgotten(gateway: GatewayOfTest) -> None:
    async with await get(gateway, ALL):
        await eventually(lambda: len(gateway.connections) == 1)
    await eventually(lambda: len(gateway.connections) == 0)
    gateway.fan_out.append("a1", Email="s1")
    assert gateway.fan_out.listeners == 0
    assert sum(n for (_, reason), n in gateway.connections.ended.items() if reason == "client") == 1


async def test_a_log_that_cannot_be_read_is_told_with_a_time_to_come_back(
    gateway: GatewayOfTest,
) -> None:
    gateway.fan_out.failure = LogUnavailableError("being rebuilt")
    async with await get(gateway, ALL) as client:
        assert client.status == 503
        assert int(client.headers["retry-after"]) >= 1
    gateway.fan_out.failure = None
    async with await get(gateway, ALL) as client:
        assert client.status == 200


async def test_a_lost_log_is_joined_again(gateway: GatewayOfTest) -> None:
    async with await get(gateway, ALL) as client:
        gateway.fan_out.append("a1", Email="s1")
        await client.state()
        gateway.fan_out.resynchronise_all()
        await eventually(lambda: gateway.connections.rejoined == 1)
        gateway.fan_out.append("a1", Email="s2")

        assert await client.state() == ("m.2", {"a1": {"Email": "s2"}})


async def test_a_client_that_goes_while_it_joins_leaves_nothing(gateway: GatewayOfTest) -> None:
    gateway.fan_out.delay = asyncio.Event()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"GET {ALL} HTTP/1.1\r\nHost: x\r\n{AUTHORIZATION}\r\n\r\n".encode())
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.transport.abort()
    await asyncio.sleep(0.1)
    gateway.fan_out.delay.set()
    await eventually(lambda: gateway.fan_out.listeners == 0 and len(gateway.connections) == 0)
    assert reader.at_eof()


async def test_http_1_0_gets_the_bytes_without_chunks() -> None:
    async with gateway_running() as gateway:
        client = await EventSourceClient.get(
            gateway.port,
            ALL.replace("closeafter=no", "closeafter=state"),
            AUTHORIZATION,
            version="1.0",
        )
        async with client:
            assert client.status == 200
            assert "transfer-encoding" not in client.headers
            gateway.fan_out.append("a1", Email="s1")

            assert await client.body() == (
                b"event: state\nid: m.1\n"
                b'data: {"@type":"StateChange","changed":{"a1":{"Email":"s1"}}}\n\n'
            )


async def test_pipelined_requests_are_answered_over_asgi() -> None:
    async with gateway_running() as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        request = f"GET {ALL} HTTP/1.1\r\nHost: x\r\n{AUTHORIZATION}\r\n\r\n"
        writer.write((request * 2).encode())
        client = EventSourceClient(reader, writer)
        await client._read_head()
        async with client:
            gateway.fan_out.append("a1", Email="s1")
            assert await client.state() == ("m.1", {"a1": {"Email": "s1"}})


async def test_p53_p55_pings_have_no_id_and_say_their_interval() -> None:
    """Counted from the last event; the real interval is at least 30 s, so the clock runs ahead."""
    async with gateway_running() as gateway:
        ahead = 0.0
        real = gateway.connections.now
        gateway.connections.now = lambda: real() + ahead
        async with await get(gateway, "/jmap/eventsource?types=*&closeafter=no&ping=1") as client:
            ahead = 20.0
            gateway.fan_out.append("a1", Email="s1")
            await client.state()
            ahead = 45.0
            assert await client.hears_nothing(0.6), "30 s since the state event are not over"
            ahead = 50.5
            assert await client.event() == b'event: ping\ndata: {"interval":30}\n\n'
            ahead = 81.0
            assert await client.event() == b'event: ping\ndata: {"interval":30}\n\n'


async def test_p54_a_longer_interval_is_used_as_it_is() -> None:
    async with gateway_running() as gateway:
        ahead = 0.0
        real = gateway.connections.now
        gateway.connections.now = lambda: real() + ahead
        async with await get(gateway, "/jmap/eventsource?types=*&closeafter=no&ping=120") as client:
            ahead = 120.5
            assert await client.event() == b'event: ping\ndata: {"interval":120}\n\n'


async def test_a_stalled_peer_only_merges_and_is_closed() -> None:
    settings = GatewaySettings(stall_seconds=1, flush_milliseconds=1)
    async with gateway_running(settings) as gateway, await get(gateway, ALL) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (channel,) = gateway.connections
        number = 0
        while not channel.push.is_paused:
            number += 1
            gateway.fan_out.append("a1", Email=f"s{number}" + "x" * 10_000)
            await asyncio.sleep(0.002)
            assert number < 5000
        for _ in range(1000):
            number += 1
            gateway.fan_out.append("a1", Email=f"s{number}" + "x" * 10_000)
        assert channel.transport.get_write_buffer_size() < 64 * 1024
        await eventually(lambda: gateway.connections.ended[("sse", "stalled")] == 1)
        await eventually(lambda: gateway.fan_out.listeners == 0)


async def test_a_slow_peer_that_comes_back_gets_the_newest_state() -> None:
    settings = GatewaySettings(flush_milliseconds=1)
    async with gateway_running(settings) as gateway, await get(gateway, ALL) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (channel,) = gateway.connections
        number = 0
        while not channel.push.is_paused:
            number += 1
            gateway.fan_out.append("a1", Email=f"s{number}" + "x" * 10_000)
            await asyncio.sleep(0.002)
        for _ in range(100):
            number += 1
            gateway.fan_out.append("a1", Email=f"s{number}")
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        cursor, changed = await client.state()
        while cursor != f"m.{number}":
            cursor, changed = await client.state()
        assert changed == {"a1": {"Email": f"s{number}"}}


async def test_a_full_server_says_so_before_it_asks_who_you_are() -> None:
    settings = GatewaySettings(connections_max=3, connections_per_user_max=2)
    async with gateway_running(settings) as gateway:
        gateway.accounts["bob"] = set()
        async with await get(gateway, ALL), await get(gateway, ALL):
            async with await get(gateway, ALL) as refused:
                assert refused.status == 429
                assert "retry-after" in refused.headers
            bob = await EventSourceClient.get(gateway.port, ALL, "Authorization: Bearer bob")
            async with bob:
                assert bob.status == 200
                async with await EventSourceClient.get(gateway.port, ALL) as refused:
                    assert refused.status == 503
                    assert "retry-after" in refused.headers
        await eventually(lambda: len(gateway.connections) == 0)
        async with await get(gateway, ALL) as client:
            assert client.status == 200


async def test_drain_ends_streams_well_and_tells_when_to_come_back() -> None:
    async with gateway_running() as gateway, await get(gateway, ALL) as client:
        await gateway.connections.drain(0.1)
        line = await client.chunk()
        assert line.startswith(b"retry: ")
        assert 1000 <= int(line.removeprefix(b"retry: ")) <= 5000
        assert await client.chunk() == b""
        assert await client.is_closed()
