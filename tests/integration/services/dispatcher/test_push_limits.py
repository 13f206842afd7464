"""How many subscriptions a user may have, and create, through however many dispatchers."""

import asyncio
from collections import Counter

import pytest

from services.dispatcher.settings import PushRules, PushSubscriptionSettings
from shared.store.credentials import issue_token
from tests.support.dispatcher import LOOPBACK, JmapClient, RunningDispatcher, running_dispatcher
from tests.support.push_subscriptions import URL, push_set, refusal, subscribe

pytestmark = pytest.mark.integration

GIVEN = {"deviceClientId": "d", "url": URL}
PER_CALL = 5


def rules(*, subscriptions_max: int = 100, creations_per_hour: int = 100) -> PushRules:
    limits = PushSubscriptionSettings(
        subscriptions_max=subscriptions_max, creations_per_hour=creations_per_hour
    )
    return PushRules(policy=LOOPBACK.policy, limits=limits)


async def clients_of_ada(*dispatchers: RunningDispatcher) -> list[JmapClient]:
    """Three at each, every one with a token of its own."""
    first = await dispatchers[0].user("ada")
    clients = []
    for dispatcher in dispatchers:
        for _ in range(3):
            _, token = await issue_token(dispatcher.pool, "ada")
            clients.append(JmapClient(dispatcher.url, token, first.account_id))
            dispatcher.clients.append(clients[-1])
    return clients


async def create_all_at_once(clients: list[JmapClient]) -> Counter[str]:
    """How many were created, and how many refused, by error."""
    create = {f"k{number}": GIVEN for number in range(PER_CALL)}
    answers = await asyncio.gather(*(push_set(client, create=create) for client in clients))
    outcomes: Counter[str] = Counter()
    for answer in answers:
        outcomes["created"] += len(answer["created"] or ())
        outcomes.update(error["type"] for error in (answer["notCreated"] or {}).values())
    return outcomes


async def test_a_user_has_no_more_than_the_limit_through_two_dispatchers(
    postgres_dsn: str,
) -> None:
    """P-40."""
    most = rules(subscriptions_max=12)
    async with (
        running_dispatcher(postgres_dsn, push=most) as one,
        running_dispatcher(postgres_dsn, push=most) as two,
    ):
        outcomes = await create_all_at_once(await clients_of_ada(one, two))
        assert outcomes == {"created": 12, "overQuota": 6 * PER_CALL - 12}
        assert await one.pool.fetchval("SELECT count(*) FROM push_subscriptions") == 12
        await subscribe(await one.user("grace"))


async def test_a_user_creates_no_faster_than_the_limit_through_two_dispatchers(
    postgres_dsn: str,
) -> None:
    """P-40: destroying makes room for others, but not at once."""
    most = rules(creations_per_hour=12)
    async with (
        running_dispatcher(postgres_dsn, push=most) as one,
        running_dispatcher(postgres_dsn, push=most) as two,
    ):
        clients = await clients_of_ada(one, two)
        outcomes = await create_all_at_once(clients)
        assert outcomes == {"created": 12, "rateLimit": 6 * PER_CALL - 12}
        await one.pool.execute("DELETE FROM push_subscriptions")
        assert (await refusal(clients[0]))["type"] == "rateLimit"
        await one.pool.execute(
            "UPDATE push_creations SET counted_at = counted_at - interval '15 minutes'"
        )
        assert await create_all_at_once(clients) == {"created": 3, "rateLimit": 6 * PER_CALL - 3}
        await subscribe(await one.user("grace"))


async def test_what_is_refused_for_itself_costs_nothing(postgres_dsn: str) -> None:
    async with running_dispatcher(postgres_dsn, push=rules(creations_per_hour=1)) as dispatcher:
        client = await dispatcher.user("ada")
        for _ in range(3):
            assert (await refusal(client, url="http://x"))["type"] == "invalidProperties"
        await subscribe(client)
        assert (await refusal(client))["type"] == "rateLimit"


async def test_more_objects_than_a_call_may_have_are_refused(client: JmapClient) -> None:
    answer = await client.answer(
        "PushSubscription/set", {"destroy": [f"p{number}" for number in range(501)]}
    )
    assert answer[1]["type"] == "requestTooLarge"
