"""Workers, a dispatcher, NATS and PostgreSQL die at random while endpoints fail in every way."""

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from shared.store.credentials import issue_token
from shared.store.lane_admin import probe_lane
from shared.store.people import add_grant, add_user
from shared.store.pool import open_pool
from tests.support.certificate import make_certificate
from tests.support.chaos import Api, Person, Record, View, Writer
from tests.support.dispatcher import SECRET_KEY
from tests.support.eventually import eventually
from tests.support.processes import tidings
from tests.support.servers import NatsServer, PostgresServer
from tests.support.webhook_chaos import (
    ANSWER_SECONDS_MAX,
    LEASE_SECONDS,
    Endpoint,
    Moods,
    Subscriber,
    WebhookFleet,
    violations,
    wrong_views,
)
from tests.support.webhook_sink import WebhookSink, webhook_sink

pytestmark = pytest.mark.end_to_end

SECONDS = float(os.environ.get("TIDINGS_TEST_CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("TIDINGS_TEST_CHAOS_SEED", random.randrange(1 << 32)))
PROCESSES = ("webhooks 1", "webhooks 2", "dispatcher 1")
PEOPLE = 10
ORIGINS = 5
WRITES_PER_SECOND = 15
GONE_MAX = 4
STATES = {True: "verified", False: "not verified", None: "gone"}


@dataclass(frozen=True)
class Plan:
    postgres_url: str
    seconds: float
    between: tuple[float, float]  # seconds from a strike to the next
    endpoints: int  # from the beginning


async def add_people(postgres_url: str) -> list[Person]:
    """Each with an account; every third sees two others."""
    async with open_pool(postgres_url, connections_max=2) as pool:
        names = [f"user{number}" for number in range(PEOPLE)]
        accounts = [(await add_user(pool, name))[1] for name in names]
        people = []
        for number, name in enumerate(names):
            visible = {accounts[number]}
            if number % 3 == 0:
                visible |= {accounts[(number + step) % PEOPLE] for step in (1, 2)}
            for account_id in visible - {accounts[number]}:
                await add_grant(pool, account_id, name, "read")
            _, token = await issue_token(pool, name)
            people.append(Person(token, accounts[number], frozenset(visible)))
    return people


@contextmanager
def fleet_running(
    environment: dict[str, str], nats: NatsServer, postgres: PostgresServer, record: Record
) -> Iterator[WebhookFleet]:
    servers = {"nats 1": nats, "postgres 1": postgres}
    fleet = WebhookFleet(environment, PROCESSES, servers, record)
    try:
        yield fleet
    finally:
        fleet.close()


async def subscribed(
    people: Sequence[Person],
    sinks: Sequence[WebhookSink],
    api: Api,
    subscriber: Subscriber,
    count: int,
) -> list[Endpoint]:
    """Before the chaos; all verified."""
    endpoints = []
    for number in range(count):
        person, sink = people[number % len(people)], sinks[number % len(sinks)]
        first = await api.states(person.token, person.visible)
        endpoints.append(Endpoint(f"/endpoint{number}", person, sink, first))
        await subscriber.subscribe(endpoints[-1])
    await eventually(lambda: all(one.verifications for one in endpoints), seconds=60)
    return endpoints


async def converge(
    postgres_url: str, endpoints: Sequence[Endpoint], people: Sequence[Person], api: Api
) -> None:
    """Nobody writes any more and all answer well; backoffs are cut short, as an operator may."""
    truth: View = {}
    for person in people:
        truth |= await api.states(person.token, [person.account_id])
    async with open_pool(postgres_url, connections_max=2) as pool:
        for endpoint in endpoints:
            await probe_lane(pool, endpoint.subscription_id)
    try:
        await eventually(lambda: not wrong_views(endpoints, truth), seconds=60)
    except AssertionError:
        last = wrong_views(endpoints, truth)
        raise AssertionError(f"{len(last)} endpoints know another state: {last[:5]}") from None


async def verified(
    postgres_url: str, endpoints: Sequence[Endpoint], gone: set[str], record: Record
) -> list[Endpoint]:
    """Those that are verified and live; notes what must not be of the others."""
    async with open_pool(postgres_url, connections_max=2) as pool:
        rows = await pool.fetch("SELECT id, verified_at IS NOT NULL AS ok FROM push_subscriptions")
    known = {row["id"]: row["ok"] for row in rows}
    live = []
    for endpoint in endpoints:
        state = known.get(endpoint.subscription_id)
        record.counts[f"in the end {STATES[state]}"] += 1
        if state and endpoint.path not in gone:  # else it ends as soon as it is told anything
            live.append(endpoint)
        elif state is False and endpoint.changes:
            record.violations.append(f"{endpoint.path} is not verified, and was told something")
        elif state is None and endpoint.subscription_id and endpoint.path not in gone:
            record.violations.append(f"{endpoint.path} lost its subscription")
    return live


@contextmanager
def world(
    nats: NatsServer, postgres: PostgresServer, folder: Path, record: Record
) -> Iterator[tuple[WebhookFleet, list[WebhookSink]]]:
    """Migrated, and with endpoints of several origins over HTTPS."""
    certificate = make_certificate(folder / "tls")
    environment = {
        "TIDINGS_NATS_URL": nats.url,
        "TIDINGS_POSTGRES_URL": postgres.dsn,
        "TIDINGS_SECRET_KEY": SECRET_KEY,
        "TIDINGS_WEBHOOK_ALLOW": "127.0.0.0/8",
        "TIDINGS_WEBHOOK_CA": str(certificate.path),
        "TIDINGS_WEBHOOK_ANSWER_SECONDS_MAX": str(ANSWER_SECONDS_MAX),
        "TIDINGS_WEBHOOK_LEASE_SECONDS": str(LEASE_SECONDS),
    }
    migrated = tidings("migrate", environment=environment)
    assert migrated.returncode == 0, migrated.stderr
    with ExitStack() as stack:
        sinks = [stack.enter_context(webhook_sink(certificate)) for _ in range(ORIGINS)]
        fleet = stack.enter_context(fleet_running(environment, nats, postgres, record))
        yield fleet, sinks


def unexpected(errors: Sequence[str]) -> list[str]:
    """All but that an endpoint did not take our signature, which is for an operator."""
    return [line for line in errors if "webhook_unauthorized" not in line]


async def live(
    fleet: WebhookFleet,
    people: Sequence[Person],
    sinks: Sequence[WebhookSink],
    record: Record,
    plan: Plan,
) -> None:
    """Until all is calm, and all that are live know the newest state."""
    dice = random.Random(SEED)
    api = Api(fleet.dispatcher_urls, record, dice)
    async with api.http, asyncio.TaskGroup() as tasks:
        supervising = tasks.create_task(fleet.supervise())
        subscriber = Subscriber(people, sinks, api, record, dice)
        endpoints = await subscribed(people, sinks, api, subscriber, plan.endpoints)
        moods = Moods(endpoints, record, dice)
        writers = [Writer(person, api, record, dice) for person in people]
        for writer in writers:
            await writer.prepare()
        try:
            async with asyncio.TaskGroup() as living:
                living.create_task(moods.run(GONE_MAX))
                subscribing = living.create_task(subscriber.run())
                for writer in writers:
                    living.create_task(writer.run(PEOPLE / WRITES_PER_SECOND))
                await fleet.rage(plan.seconds, dice, plan.between)
                subscribing.cancel()
                record.is_calm = True
            moods.calm([*endpoints, *subscriber.endpoints])
            alive = await verified(
                plan.postgres_url, [*endpoints, *subscriber.endpoints], moods.gone, record
            )
            assert len(alive) > plan.endpoints / 2
            await converge(plan.postgres_url, alive, people, api)
        finally:
            record.violations += violations([*endpoints, *subscriber.endpoints], fleet, moods.gone)
        supervising.cancel()


@pytest.mark.parametrize(
    ("seconds", "between", "count"),
    [
        pytest.param(5.0, (0.4, 0.9), 20, id="short"),
        pytest.param(SECONDS, (1.5, 3.5), 50, id="long", marks=pytest.mark.long),
    ],
)
async def test_every_live_endpoint_ends_at_the_newest_state_and_none_goes_back(
    fresh_nats: NatsServer,
    fresh_postgres: PostgresServer,
    tmp_path: Path,
    seconds: float,
    between: tuple[float, float],
    count: int,
) -> None:
    print(f"TIDINGS_TEST_CHAOS_SEED={SEED}")
    record = Record()
    plan = Plan(fresh_postgres.dsn, seconds, between, count)
    with world(fresh_nats, fresh_postgres, tmp_path, record) as (fleet, sinks):
        people = await add_people(fresh_postgres.dsn)
        try:
            await live(fleet, people, sinks, record, plan)
        finally:
            record.counts["posts"] = sum(len(sink.posts) for sink in sinks)
            record.counts["overlaps"] = sum(len(sink.overlaps) for sink in sinks)
            print(f"chaos of {seconds:.0f} s: {record}")
            print(*fleet.strikes, *record.violations[:20], sep="\n")
        assert not record.violations, record.violations[:10]
        assert not unexpected(fleet.lines_with('"level":"error"'))
    assert record.counts["writes"] > 2 * seconds
    assert record.counts["posts"] > 10 * seconds
