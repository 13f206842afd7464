"""Event sources over the real log: NATS and PostgreSQL, and what happens when NATS goes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.gateway.settings import GatewaySettings
from tests.support.eventually import eventually
from tests.support.gateway import AUTHORIZATION, GatewayOfTest, gateway_running
from tests.support.real_fan_out import RealLog, real_log
from tests.support.servers import NatsServer
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

ALL = "/jmap/eventsource?types=*&closeafter=no&ping=0"
SETTINGS = GatewaySettings(join_seconds_max=1.0)


@pytest.fixture
async def log(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[RealLog]:
    async with real_log(fresh_nats.url, postgres_dsn) as running:
        yield running


@pytest.fixture
async def gateway(log: RealLog) -> AsyncIterator[GatewayOfTest]:
    async with gateway_running(SETTINGS, fan_out=log.fan_out) as running:
        yield running


async def get(gateway: GatewayOfTest, *headers: str) -> EventSourceClient:
    return await EventSourceClient.get(gateway.port, ALL, AUTHORIZATION, *headers)


async def test_a_change_reaches_who_is_connected_and_who_comes_back(
    gateway: GatewayOfTest, log: RealLog
) -> None:
    async with await get(gateway) as client:
        await log.append("a1", Email="s1")
        cursor, changed = await client.state()
        assert changed == {"a1": {"Email": "s1"}}
    await log.append_and_pass_on("a1", Email="s2")
    await log.append_and_pass_on("a2", Thread="s3")

    async with await get(gateway, f"Last-Event-ID: {cursor}") as client:
        assert (await client.state())[1] == {"a1": {"Email": "s2"}, "a2": {"Thread": "s3"}}
    async with await get(gateway, "Last-Event-ID: garbage") as client:
        assert (await client.state())[1] == {"a1": {"Email": "s2"}, "a2": {"Thread": "s3"}}


async def test_another_gateway_understands_the_cursor(
    gateway: GatewayOfTest, log: RealLog, fresh_nats: NatsServer, postgres_dsn: str
) -> None:
    async with await get(gateway) as client:
        await log.append("a1", Email="s1")
        cursor, _ = await client.state()
    await log.append("a1", Email="s2")
    async with (
        real_log(fresh_nats.url, postgres_dsn) as other_log,
        gateway_running(SETTINGS, fan_out=other_log.fan_out) as other,
        await get(other, f"Last-Event-ID: {cursor}") as client,
    ):
        assert (await client.state())[1] == {"a1": {"Email": "s2"}}


async def test_a_killed_nats_server_costs_a_connected_client_nothing(
    gateway: GatewayOfTest, log: RealLog, fresh_nats: NatsServer
) -> None:
    async with await get(gateway) as client:
        await log.append("a1", Email="s1")
        await client.state()
        await asyncio.to_thread(fresh_nats.kill)
        await asyncio.to_thread(fresh_nats.start)
        await eventually(lambda: log.fan_out.is_live, seconds=30)
        await log.append("a1", Email="s2")

        assert (await client.state())[1] == {"a1": {"Email": "s2"}}


async def test_without_nats_a_join_is_refused_for_now(
    gateway: GatewayOfTest, log: RealLog, fresh_nats: NatsServer
) -> None:
    await asyncio.to_thread(fresh_nats.kill)
    await eventually(lambda: not log.fan_out.is_live)
    async with await get(gateway) as client:
        assert client.status == 503
        assert int(client.headers["retry-after"]) >= 1
    await asyncio.to_thread(fresh_nats.start)
    await eventually(lambda: log.fan_out.is_live, seconds=30)
    async with await get(gateway) as client:
        assert client.status == 200


async def test_a_rebuilt_log_is_told_and_old_cursors_still_resume(
    gateway: GatewayOfTest, log: RealLog
) -> None:
    """The log of before knew a state that PostgreSQL does not: it is not told again."""
    async with await get(gateway) as client:
        await log.append("a1", Email="s1")
        cursor, _ = await client.state()
        await log.writable.keeper.rebuild()
        log.writable.appender.forget()
        await eventually(lambda: log.fan_out.is_live, seconds=30)
        await log.append("a1", Email="s2")
        assert (await client.state())[1] == {"a1": {"Email": "s2"}}
    async with await get(gateway, f"Last-Event-ID: {cursor}") as client:
        assert (await client.state())[1] == {"a1": {"Email": "s2"}}
