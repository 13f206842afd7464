"""`python -m tests.benchmarks.capacity_store`: what accounts, mutations and lanes cost PostgreSQL.

For docs/scaling.md; prints JSON. Bytes are those of tables with their indexes (TOAST too), divided
by rows or accounts; CPU is that of all its processes, read from /proc. PostgreSQL is durable.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import uvloop

from shared.store.lanes import (
    Claim,
    ClaimedLane,
    Merge,
    Settlement,
    claim_lanes,
    merge_into_lanes,
    settle_lanes,
)
from shared.store.migrate import migrate
from shared.store.outbox import mark_published
from shared.store.pool import open_pool
from tests.benchmarks.appends import cpu_seconds
from tests.benchmarks.test_dispatcher import Server, address_book, card, poster
from tests.support.servers import PostgresServer, postgres_server_running

CARDS = 5_000
CARDS_OF_REQUEST = 250
MUTATIONS = 2_000
AT_ONCE = 8
LANES = 100_000
ATTEMPTS_LANES = 2_000
ATTEMPTS = 33
CLAIMED = 200
LOOKS = 20_000
SEALED = 300  # octets of a sealed URL, its keys and its code

TABLES_OF_ACCOUNT = ("users", "accounts", "grants", "tokens", "type_states")
TABLES_OF_LANE = ("push_subscriptions", "push_subscription_keys", "lanes")


def cpu_of(server: PostgresServer) -> float:
    """Of the postmaster, its living children and those it waited for; seconds."""
    assert server.pid is not None
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(status.parent.name)
        if pid == server.pid:
            total += cpu_seconds(pid) + (int(fields[13]) + int(fields[14])) / 100
        elif int(fields[1]) == server.pid:
            total += cpu_seconds(pid)
    return total


async def sizes(connection: asyncpg.Connection, *tables: str) -> int:
    for table in tables:
        await connection.execute(f"VACUUM (FREEZE, ANALYZE) {table}")
    size: int = await connection.fetchval(
        "SELECT sum(pg_total_relation_size(name::regclass))::int8 FROM unnest($1::text[]) AS name",
        list(tables),
    )
    return size


async def wal_bytes(connection: asyncpg.Connection) -> int:
    found: int = await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
    return int(found)


class Costs:
    def __init__(
        self, server: Server, postgres: PostgresServer, session: aiohttp.ClientSession
    ) -> None:
        self._server = server
        self._postgres = postgres
        self._session = session

    async def of(self, request: Callable[[int], dict[str, Any]]) -> dict[str, float]:
        """CPU of PostgreSQL and of the dispatcher, in microseconds a request."""
        pid = self._server._process.pid
        used, used_by_us = cpu_of(self._postgres), cpu_seconds(pid)
        left = iter(range(MUTATIONS))

        async def work() -> None:
            for number in left:
                await poster(self._server, "/jmap/api", request(number))(self._session)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
        return {
            "postgres_us": (cpu_of(self._postgres) - used) / MUTATIONS * 1e6,
            "dispatcher_us": (cpu_seconds(pid) - used_by_us) / MUTATIONS * 1e6,
        }


def look(server: Server, state: int) -> dict[str, Any]:
    """What a client asks that was told of one change."""
    changes = server.request("ContactCard/changes", sinceState=f"s{state - 1}")
    made = {"resultOf": "0", "name": "ContactCard/changes", "path": "/created"}
    get = ["ContactCard/get", {"accountId": server.account_id, "#ids": made}, "1"]
    return {**changes, "methodCalls": [*changes["methodCalls"], get]}


async def marked(connection: asyncpg.Connection, postgres: PostgresServer) -> float:
    """CPU of marking published rows, in batches of 100, in microseconds a row."""
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM outbox ORDER BY id")]
    async with open_pool(postgres.dsn) as pool:
        used = cpu_of(postgres)
        for first in range(0, len(ids), 100):
            batch = {id_: id_ for id_ in ids[first : first + 100]}
            await mark_published(pool, batch, stream="STATE", epoch="none")
        return (cpu_of(postgres) - used) / len(ids) * 1e6


async def records(server: Server, postgres: PostgresServer) -> dict[str, Any]:
    """Bytes of a card, CPU and WAL of a mutation of one card."""
    connection = await asyncpg.connect(postgres.dsn)
    book = await address_book(server)
    found: dict[str, Any] = {}
    async with aiohttp.ClientSession(headers=server.headers) as session:
        for first in range(0, CARDS, CARDS_OF_REQUEST):
            numbers = range(first, first + CARDS_OF_REQUEST)
            cards = {f"k{number}": card(book, number) for number in numbers}
            body = server.request("ContactCard/set", create=cards)
            await poster(server, "/jmap/api", body)(session)
        found["bytes_per_card"] = await sizes(connection, "records") / CARDS
        outbox, wal = await sizes(connection, "outbox"), await wal_bytes(connection)

        def made(number: int) -> dict[str, Any]:
            return server.request("ContactCard/set", create={"k": card(book, 10**6 + number)})

        costs = Costs(server, postgres, session)
        found["mutation"] = await costs.of(made)
        found["wal_per_mutation"] = (await wal_bytes(connection) - wal) / MUTATIONS
        found["outbox_row"] = (await sizes(connection, "outbox") - outbox) / MUTATIONS
        state = await connection.fetchval("SELECT max(modseq) FROM accounts")
        found["look"] = await costs.of(lambda _: look(server, state))
    found["cpu_us_per_mark"] = await marked(connection, postgres)
    await connection.close()
    return found


async def fill_accounts(connection: asyncpg.Connection) -> float:
    """As many as there will be lanes, each of a user with a token; bytes of one."""
    before = await sizes(connection, *TABLES_OF_ACCOUNT)
    for statement in (
        "INSERT INTO users (id, name) SELECT 'u' || lpad(n::text, 21, '0'), 'user' || n {n}",
        (
            "INSERT INTO accounts (id, name, is_personal)"
            " SELECT 'a' || lpad(n::text, 21, '0'), 'user' || n, true {n}"
        ),
        (
            "INSERT INTO grants (account_id, user_id, role)"
            " SELECT 'a' || lpad(n::text, 21, '0'), 'u' || lpad(n::text, 21, '0'), 'owner' {n}"
        ),
        (
            "INSERT INTO tokens (id, user_id, hash, scopes)"
            " SELECT 't' || lpad(n::text, 21, '0'), 'u' || lpad(n::text, 21, '0'),"
            " sha256(n::text::bytea), '{{jmap}}' {n}"
        ),
        (
            "INSERT INTO type_states (account_id, type, state, ord)"
            " SELECT 'a' || lpad(n::text, 21, '0'), type, 's1', 1"
            " {n}, unnest('{{AddressBook,ContactCard}}'::text[]) AS type"
        ),
    ):
        await connection.execute(statement.format(n=f"FROM generate_series(1, {LANES}) AS n"))
    return (await sizes(connection, *TABLES_OF_ACCOUNT) - before) / LANES


async def fill_lanes(connection: asyncpg.Connection) -> float:
    """A verified subscription of each user; bytes of one with its lane."""
    await connection.execute(
        "INSERT INTO vapid_keys (id, public_key) VALUES ('bench', '\\x00') ON CONFLICT DO NOTHING"
    )
    key = await connection.fetchval("SELECT id FROM vapid_keys WHERE retires_at IS NULL")
    before = await sizes(connection, *TABLES_OF_LANE)
    for statement in (
        (
            "INSERT INTO push_subscriptions (id, user_id, credential_id, token_id,"
            " device_client_id, vapid_key_id, origin, sealed, has_keys, ends_at, verified_at)"
            " SELECT 's' || lpad(n::text, 21, '0'), 'u' || lpad(n::text, 21, '0'),"
            " 't' || lpad(n::text, 21, '0'), 't' || lpad(n::text, 21, '0'), 'device', $1,"
            f" 'origin' || n % 20, decode(repeat('ab', {SEALED}), 'hex'), false,"
            " now() + '30 days'::interval, now() {n}"
        ),
        (
            "INSERT INTO push_subscription_keys SELECT 's' || lpad(n::text, 21, '0'),"
            " decode(repeat('ab', 60), 'hex') {n} WHERE $1::text IS NOT NULL"
        ),
        (
            "INSERT INTO lanes (subscription_id, origin, cursor, target, is_open)"
            " SELECT 's' || lpad(n::text, 21, '0'), 'origin' || n % 20, 0, 0, true {n}"
            " WHERE $1::text IS NOT NULL"
        ),
    ):
        series = f"FROM generate_series(1, {LANES}) AS n"
        await connection.execute(statement.format(n=series), key)
    return (await sizes(connection, *TABLES_OF_LANE) - before) / LANES


async def fill_attempts(connection: asyncpg.Connection) -> float:
    """Bytes of an attempt in full rings."""
    before = await sizes(connection, "delivery_attempts")
    await connection.execute(
        "INSERT INTO delivery_attempts SELECT 's' || lpad(n::text, 21, '0'), place, now(), 'push',"
        " 'accepted', 201, 12, 1000 + place"
        f" FROM generate_series(1, {ATTEMPTS_LANES}) AS n,"
        f" generate_series(0, {ATTEMPTS - 1}) AS place"
    )
    attempts = await sizes(connection, "delivery_attempts") - before
    return attempts / (ATTEMPTS_LANES * ATTEMPTS)


def settled(lane: ClaimedLane, began_at: Any) -> Settlement:
    return Settlement(
        lane_id=lane.id,
        lease=lane.lease,
        cursor=lane.target,
        told={},
        must_retry=False,
        wait_seconds=None,
        waits_for=None,
        window_ms=0,
        failures=0,
        failing_since=None,
        began_at=began_at,
        attempts=lane.attempts + 1,
        sent_up_to=lane.target,
    )


async def looks(postgres: PostgresServer) -> dict[str, float]:
    """CPU of merging, claiming and settling, per lane, while all other lanes have nothing due."""
    claim = Claim(
        lease="bench",
        lease_for=timedelta(minutes=1),
        lanes_max=CLAIMED,
        is_troubled=False,
        origin_max=CLAIMED,
        origin_room={},
    )
    spent = {"merge": 0.0, "claim": 0.0, "settle": 0.0}
    async with open_pool(postgres.dsn) as pool:
        now = await pool.fetchval("SELECT now()")
        for first in range(0, LOOKS, CLAIMED):
            merges = [
                Merge(f"a{1 + number * 17 % LANES:021d}", "ContactCard", 1000 + first)
                for number in range(first, first + CLAIMED)
            ]
            marks = [cpu_of(postgres)]
            await merge_into_lanes(pool, merges)
            marks.append(cpu_of(postgres))
            claimed = (await claim_lanes(pool, claim)).lanes
            marks.append(cpu_of(postgres))
            assert len(claimed) == CLAIMED, len(claimed)
            await settle_lanes(pool, [settled(lane, now) for lane in claimed])
            marks.append(cpu_of(postgres))
            for name, start, end in zip(spent, marks, marks[1:], strict=False):
                spent[name] += end - start
    return {f"cpu_us_per_{name}": seconds / LOOKS * 1e6 for name, seconds in spent.items()}


async def measured(postgres: PostgresServer) -> dict[str, Any]:
    await migrate(postgres.dsn)
    server = Server(postgres.dsn)
    try:
        found = await records(server, postgres)
    finally:
        server.close()
    connection = await asyncpg.connect(postgres.dsn)
    found["bytes_per_account"] = await fill_accounts(connection)
    found["bytes_per_lane"] = await fill_lanes(connection)
    found["bytes_per_attempt"] = await fill_attempts(connection)
    await connection.close()
    return found | await looks(postgres)


def main() -> None:
    with postgres_server_running(is_durable=True) as postgres:
        print(json.dumps(uvloop.run(measured(postgres))))


if __name__ == "__main__":
    main()
