"""A dispatcher that is killed while producers append: each state once, in order, none lost."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.cli.embedded.ports import free_port
from shared.client.append import AppendClient
from shared.log.open_log import open_readable_log
from shared.store.pool import open_pool
from tests.support.eventually import eventually
from tests.support.processes import Process, Up
from tests.support.stress import whole_log

pytestmark = pytest.mark.end_to_end

PRODUCERS = 6
STATES = 60
KILLS = 3


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started = Up(tmp_path / "data")
    yield started
    started.close()


def dispatcher(up: Up, port: int) -> Process:
    environment = {**up.environment, "TIDINGS_PORT": str(port)}
    return Process("dispatcher", environment=environment)


async def appended(up: Up, accounts: list[str]) -> list[list[str]]:
    """The states of Email that the log has had of each account."""
    async with (
        open_pool(up.running.postgres_url) as pool,
        open_readable_log(up.running.nats_url, pool, name="test") as log,
    ):
        events = await whole_log(log, (await log.keeper.verify()).last_sequence)
    return [
        [
            stored.event.changed["Email"].state
            for stored in events[account]
            if "Email" in stored.event.changed
        ]
        for account in accounts
    ]


async def test_nothing_is_lost_and_nothing_is_told_twice(up: Up) -> None:
    accounts = [
        up.command("account", "add", f"shared{number}")["account"] for number in range(PRODUCERS)
    ]
    up.command("user", "add", "mta")
    token = up.command("token", "issue", "mta", "--scope", "append")["token"]
    port = free_port()
    process = dispatcher(up, port)
    done = dict.fromkeys(accounts, -1)
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=15) as http:
            client = AppendClient(f"http://127.0.0.1:{port}", token, http=http)

            async def produce(account: str) -> None:
                for number in range(STATES):
                    await client.append({account: {"Email": f"e{number}"}})
                    done[account] = number

            async with asyncio.TaskGroup() as tasks:
                for account in accounts:
                    tasks.create_task(produce(account))
                for kill in range(1, KILLS + 1):
                    wanted = kill * STATES // (KILLS + 2)
                    await eventually(lambda: min(done.values()) >= wanted, seconds=60)  # noqa: B023
                    process.kill()
                    process = dispatcher(up, port)
        states = [f"e{number}" for number in range(STATES)]
        assert await appended(up, accounts) == [states] * PRODUCERS
    finally:
        process.close()
