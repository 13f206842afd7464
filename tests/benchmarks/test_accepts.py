"""What it costs to come in: a connection with authentication, and a resume; prints JSON.

CPU of the gateway's process, so that what PostgreSQL, NATS and the clients use beside it on a small
machine does not count: connections per second and process are its inverse.
"""

import asyncio
import json
import time
from collections.abc import Callable

import asyncpg
import pytest

from shared.log.cursor import Cursor, encode_cursor
from tests.benchmarks.crowd import Crowd
from tests.benchmarks.measured import Server, server
from tests.support.servers import NatsServer

pytestmark = [pytest.mark.integration, pytest.mark.long]

USERS = 1500
LINGER_SECONDS = 3.0  # beyond what tokens and grants are remembered
PEOPLE = f"""
INSERT INTO users (id, name) SELECT 'user' || n, 'user' || n FROM generate_series(0, {USERS}) n;
INSERT INTO accounts (id, name, is_personal)
    SELECT 'a' || n, 'a' || n, true FROM generate_series(0, {USERS}) n;
INSERT INTO grants (account_id, user_id, role)
    SELECT 'a' || n, 'user' || n, 'owner' FROM generate_series(0, {USERS}) n;
INSERT INTO tokens (id, user_id, hash, scopes)
    SELECT 't' || n, 'user' || n, sha256(('u' || n)::bytea), '{{jmap}}'
    FROM generate_series(0, {USERS}) n;
"""
CHANGES = f"""
INSERT INTO type_states (account_id, type, state, ord)
    SELECT 'a' || n, 'Email', 's1', 1 FROM generate_series(0, {USERS}) n;
INSERT INTO outbox (account_id, states, cause)
    SELECT 'a' || n, '{{"Email":["s1",1]}}', '{{}}' FROM generate_series(0, {USERS}) n;
"""


def execute(dsn: str, statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(statements)
        await connection.close()

    asyncio.run(run())


def cost(gateway: Server, cursor: str | None) -> tuple[float, float]:
    """CPU and wall seconds of one connection until it is open, and has what it missed."""
    wall, cpu = time.monotonic(), gateway.ask("cpu")
    crowd = Crowd(gateway.port, USERS, cursor=cursor)
    cpu, wall = gateway.ask("cpu") - cpu, time.monotonic() - wall
    crowd.close()
    time.sleep(LINGER_SECONDS)
    return cpu / USERS, wall / USERS


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_coming_in_and_coming_back_is_cheap(fresh_nats: NatsServer, postgres_dsn: str) -> None:
    """An accept asks PostgreSQL for token and grants; a resume is of a client that is known."""
    execute(postgres_dsn, PEOPLE)
    servers = {"BENCH_NATS": fresh_nats.url, "BENCH_POSTGRES": postgres_dsn}
    with server("gateway", **servers) as gateway:
        found = {"accept": min(cost(gateway, None) for _ in range(3))}
        execute(postgres_dsn, CHANGES)
        wait_for(lambda: gateway.ask("position") > USERS)
        cursor = first_cursor(postgres_dsn)
        found["accept_and_resume_from_ring"] = cost(gateway, cursor)
    with server("gateway", **servers, BENCH_REMEMBERS="1") as gateway:
        wait_for(lambda: gateway.ask("position") > USERS)
        cost(gateway, None)
        found["resume_from_ring"] = min(cost(gateway, cursor) for _ in range(3))
        gateway.ask("forget")
        found["resume_from_log"] = min(cost(gateway, cursor) for _ in range(3))
    rates = {name: {"per_second": 1 / cpu, "wall": 1 / wall} for name, (cpu, wall) in found.items()}
    print(json.dumps(rates))

    assert rates["accept"]["per_second"] >= 1500
    assert rates["resume_from_ring"]["per_second"] >= 5000
    assert rates["resume_from_log"]["per_second"] >= 2500


def first_cursor(dsn: str) -> str:
    """Of the log before any account changed."""

    async def epoch() -> str:
        connection = await asyncpg.connect(dsn)
        found: str = await connection.fetchval("SELECT epoch FROM logs")
        await connection.close()
        return found

    return encode_cursor(Cursor(asyncio.run(epoch()), 1))
