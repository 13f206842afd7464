"""One look at a lane: what may happen between its parts, over real servers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from services.webhooks.answers import Answer, Outcome
from services.webhooks.breaker import Breaker
from services.webhooks.messages import PushRequest
from services.webhooks.recent_events import RecentEvents
from services.webhooks.sender import Client, Sender
from services.webhooks.settings import WebhookSettings
from services.webhooks.signing_keys import SigningKeyGoneError, SigningKeys
from services.webhooks.teller import Teller, Telling
from shared.log.batched_reader import ReaderOfLog
from shared.log.open_log import open_shared_log
from shared.runtime.metrics import Metrics
from shared.runtime.traces import Traces
from shared.store.lanes import Claim, ClaimedLane, claim_lanes
from shared.store.pool import Executor
from shared.store.vapid_keys import ensure_vapid_key
from shared.store.waits import WaitsFor
from shared.web_push.vapid import VapidKey, VapidSigner
from tests.support.eventually import eventually
from tests.support.push_client import SettableClock, push_client
from tests.support.webhooks import WebhookBench

pytestmark = pytest.mark.integration

SETTINGS = WebhookSettings()
_OPENING = 5  # failures that open a breaker


class Answering:
    """A client whose every request has one outcome."""

    def __init__(self, outcome: Outcome = Outcome.ACCEPTED) -> None:
        self.outcome = outcome
        self.requests: list[PushRequest] = []

    async def post(self, request: PushRequest, *, may_repeat: bool = False) -> Answer:
        assert may_repeat
        self.requests.append(request)
        return Answer(outcome=self.outcome)


class Look:
    """A lane of which there is something to tell, claimed, and who tells it."""

    def __init__(self, bench: WebhookBench, lane: ClaimedLane, reader: ReaderOfLog) -> None:
        self.bench = bench
        self.reader = reader
        self.lane = lane
        self.clock = SettableClock()
        self.metrics = Metrics()
        self.breaker = Breaker(lambda: 0.5)
        self.leased_until = self.clock.seconds + SETTINGS.lease_seconds

    async def tell(self, client: Client) -> Telling:
        sender = Sender(
            client,
            SigningKeys(self.bench.pool, self.bench.vault),
            VapidSigner(SETTINGS.contact),
            self.bench.vault,
            self.clock,
            self.metrics,
        )
        teller = Teller(
            self.reader,
            RecentEvents(10),
            sender,
            self.breaker,
            SETTINGS,
            clock=self.clock,
            traces=Traces(),
        )
        return await teller.tell(self.lane, self.leased_until)


async def claimed(bench: WebhookBench) -> ClaimedLane:
    claim = Claim(
        lease="look",
        lease_for=timedelta(minutes=10),
        lanes_max=1,
        is_troubled=False,
        origin_max=1,
        origin_room={},
    )
    (lane,) = (await claim_lanes(bench.pool, claim)).lanes
    return lane


@pytest.fixture
async def look(bench: WebhookBench) -> AsyncIterator[Look]:
    user = await bench.user()
    await bench.subscribe(user, "http://localhost/a")
    await bench.change(user.account_id)
    await bench.pool.execute(
        "UPDATE lanes SET target = $1, due_at = now()", bench.sequences[user.account_id]
    )
    async with open_shared_log(bench.nats_url, name="look") as log:
        yield Look(bench, await claimed(bench), log.reader)


async def test_what_is_due_is_told(look: Look) -> None:
    client = Answering()
    telling = await look.tell(client)

    assert (telling.failure, telling.wait_seconds, len(client.requests)) == (None, None, 1)


async def test_a_lease_that_ended_while_the_signing_key_came_is_not_used(look: Look) -> None:
    client = Answering()
    async with (
        look.bench.pool.acquire() as connection,
        asyncio.TaskGroup() as tasks,
        connection.transaction(),
    ):
        await connection.execute("LOCK TABLE vapid_keys IN ACCESS EXCLUSIVE MODE")
        telling = tasks.create_task(look.tell(client))
        await eventually(lambda: somebody_waits(connection))
        look.clock.seconds = look.leased_until

    assert telling.result().waits_for is WaitsFor.LEASE
    assert not client.requests


async def somebody_waits(connection: Executor) -> bool:
    """For a table that this connection has locked."""
    return bool(await count_waiting(connection))


async def count_waiting(connection: Executor) -> int:
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'vapid_keys'::regclass"
    )
    return count


@pytest.mark.parametrize("outcome", [Outcome.ADDRESS_BLOCKED, Outcome.EGRESS_FAILED])
async def test_what_was_not_sent_does_not_say_that_the_origin_answers(
    look: Look, outcome: Outcome
) -> None:
    for _ in range(_OPENING):
        look.breaker.failed(look.lane.origin, look.clock.seconds, began_at=look.clock.seconds)
    client = Answering(outcome)
    telling = await look.tell(client)

    assert telling.failure == Answer(outcome=outcome)
    assert len(client.requests) == 1
    assert look.breaker.open_origins() == 1


async def test_an_answer_does(look: Look) -> None:
    for _ in range(_OPENING):
        look.breaker.failed(look.lane.origin, look.clock.seconds, began_at=look.clock.seconds)
    await look.tell(Answering(Outcome.REFUSED))

    assert look.breaker.open_origins() == 0


async def test_a_request_whose_host_has_no_address_is_none_of_a_kept_connection(
    look: Look,
) -> None:
    async def look_up(_: str) -> Sequence[str]:
        raise OSError("no such name")

    async with push_client("localhost", look_up=look_up) as client:
        telling = await look.tell(client)

    assert telling.failure is not None
    assert telling.failure.outcome is Outcome.DNS_FAILED
    counted = look.metrics.text().decode()
    assert 'tidings_webhook_requests_total{connection="none"} 1' in counted
    assert 'connection="again"' not in counted


async def test_a_key_that_was_loaded_while_keys_were_forgotten_is_not_kept(
    bench: WebhookBench,
) -> None:
    """It may have been destroyed in between."""
    stored = await ensure_vapid_key(bench.pool, bench.vault, VapidKey.generate())
    keys = SigningKeys(bench.pool, bench.vault)
    async with (
        bench.pool.acquire() as connection,
        asyncio.TaskGroup() as tasks,
        connection.transaction(),
    ):
        await connection.execute("LOCK TABLE vapid_keys IN ACCESS EXCLUSIVE MODE")
        loading = tasks.create_task(keys.key(stored.id))
        await eventually(lambda: somebody_waits(connection))
        keys.forget()
    assert loading.result()
    await bench.pool.execute("DELETE FROM vapid_keys")

    with pytest.raises(SigningKeyGoneError):
        await keys.key(stored.id)


async def test_all_who_wait_for_a_key_have_it_loaded_once(bench: WebhookBench) -> None:
    """Also when the one who loads it gives up, or gets nothing."""
    stored = await ensure_vapid_key(bench.pool, bench.vault, VapidKey.generate())
    keys = SigningKeys(bench.pool, bench.vault)

    async def asked(key_id: str) -> VapidKey | SigningKeyGoneError:
        try:
            return await keys.key(key_id)
        except SigningKeyGoneError as error:
            return error

    async def by_others(key_id: str, *, does_first_give_up: bool) -> list[object]:
        async with (
            bench.pool.acquire() as connection,
            asyncio.TaskGroup() as tasks,
            connection.transaction(),
        ):
            await connection.execute("LOCK TABLE vapid_keys IN ACCESS EXCLUSIVE MODE")
            first, *others = [tasks.create_task(asked(key_id)) for _ in range(5)]
            await eventually(lambda: somebody_waits(connection))
            assert await count_waiting(connection) == 1
            if does_first_give_up:
                first.cancel()
        return [other.result() for other in others]

    [missing] = set(await by_others("gone", does_first_give_up=False))
    assert isinstance(missing, SigningKeyGoneError)
    found = await by_others(stored.id, does_first_give_up=True)
    assert found == [await keys.key(stored.id)] * 4
