"""The VAPID key in the session, and its rotation (RFC 9749)."""

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from services.dispatcher.application_server_key import VAPID
from services.dispatcher.subscription_jobs import end_what_is_over
from shared.bus.connection import open_bus
from shared.bus.control import ControlMessage
from shared.jmap.session import Capability
from shared.runtime.errors import CouldNotStartError
from shared.store.pool import open_pool
from shared.store.vapid_keys import (
    StoredVapidKey,
    ensure_vapid_key,
    rotate_vapid_key,
    signing_vapid_key,
    vapid_keys,
)
from shared.web_push.sealing import UnsealError, Vault
from shared.web_push.vapid import VapidKey
from tests.support.dispatcher import (
    SECRET_KEY,
    JmapClient,
    Json,
    RunningDispatcher,
    running_dispatcher,
)
from tests.support.eventually import eventually
from tests.support.push_subscriptions import URL, push_get, subscribe

pytestmark = pytest.mark.integration

VAULT = Vault(SECRET_KEY)


async def session_of(client: JmapClient) -> Json:
    session: Json = (await client.http.get("/jmap/session")).json()
    return session


async def told_key(client: JmapClient) -> str:
    capability = (await session_of(client))["capabilities"][VAPID]
    assert capability.keys() == {"applicationServerKey"}
    return str(capability["applicationServerKey"])


async def rotate(pool: asyncpg.Pool, grace: timedelta = timedelta(days=7)) -> str:
    """The new key as the session will tell it."""
    key = VapidKey.generate()
    await rotate_vapid_key(pool, VAULT, key, grace=grace)
    return key.application_server_key


@asynccontextmanager
async def following(dispatcher: RunningDispatcher, nats_url: str) -> AsyncIterator[None]:
    """Its loops run, as in a process of its own."""
    async with open_bus(nats_url, name="test") as bus:
        running = asyncio.ensure_future(dispatcher.dispatcher.run(bus))
        yield
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_the_session_tells_a_point_of_p_256(client: JmapClient) -> None:
    """V-01."""
    key = await told_key(client)

    point = base64.urlsafe_b64decode(key + "=")
    assert (len(point), point[0], "=" in key) == (65, 4, False)
    session = await session_of(client)
    assert VAPID not in session["primaryAccounts"]
    for account in session["accounts"].values():
        assert VAPID not in account["accountCapabilities"]
    answer = await client.post({"using": [VAPID], "methodCalls": []})
    assert answer.status_code == 200


async def test_dispatchers_that_start_together_agree_on_one_key(postgres_dsn: str) -> None:
    """V-01."""
    async with open_pool(postgres_dsn) as pool:
        keys = await asyncio.gather(
            *(ensure_vapid_key(pool, VAULT, VapidKey.generate()) for _ in range(8))
        )
        assert len({key.id for key in keys}) == 1
        found = await signing_vapid_key(pool, VAULT, keys[0].id)
        assert found is not None
        assert found.public == keys[0].public_key


async def test_the_private_key_is_sealed(postgres_dsn: str) -> None:
    async with open_pool(postgres_dsn) as pool:
        new = VapidKey.generate()
        key = await ensure_vapid_key(pool, VAULT, new)
        sealed = await pool.fetchval("SELECT sealed_private FROM vapid_keys")
        assert new.private not in sealed
        with pytest.raises(UnsealError):
            await signing_vapid_key(pool, Vault(secrets.token_hex(32)), key.id)
        await pool.execute(
            "UPDATE vapid_keys SET sealed_private = $1", VAULT.seal(b"x", purpose=f"vapid:{key.id}")
        )
        with pytest.raises(UnsealError):
            await signing_vapid_key(pool, VAULT, key.id)
        assert await signing_vapid_key(pool, VAULT, "unknown") is None


@pytest.mark.usefixtures("dispatcher")
async def test_another_secret_key_stops_the_start(postgres_dsn: str) -> None:
    with pytest.raises(CouldNotStartError, match="TIDINGS_SECRET_KEY is not the one"):
        async with running_dispatcher(postgres_dsn, secret_key=secrets.token_hex(32)):
            pass


async def test_the_session_follows_a_rotation_that_it_was_not_told_of(
    client: JmapClient, dispatcher: RunningDispatcher, nats_url: str
) -> None:
    """V-03: within two seconds, and with another sessionState."""
    before = await session_of(client)
    async with following(dispatcher, nats_url):
        key = await rotate(dispatcher.pool)

        async def is_told() -> bool:
            return await told_key(client) == key

        await eventually(is_told, seconds=2)
    after = await session_of(client)
    assert after["state"] != before["state"]
    assert (await client.request())["sessionState"] == after["state"]


async def test_a_control_message_hastens_it(
    client: JmapClient, dispatcher: RunningDispatcher, nats_url: str
) -> None:
    """V-03."""
    async with following(dispatcher, nats_url):
        await told_key(client)
        key = await rotate(dispatcher.pool)
        dispatcher.dispatcher.receive_control(ControlMessage(vapid_key_changed=True))

        async def is_told() -> bool:
            return await told_key(client) == key

        await eventually(is_told, seconds=0.5)


async def test_whoever_subscribes_under_a_new_key_is_told_by_the_session_state(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """V-04: the dispatcher had not heard of the rotation before it met the new key."""
    before = await session_of(client)
    key = await rotate(dispatcher.pool)
    body = await client.request(
        ["PushSubscription/set", {"create": {"k": {"deviceClientId": "d", "url": URL}}}, "0"]
    )

    assert body["sessionState"] != before["state"]
    after = await session_of(client)
    assert after["state"] == body["sessionState"]
    assert after["capabilities"][VAPID]["applicationServerKey"] == key


async def test_old_subscriptions_go_on_under_the_old_key_until_the_grace_ends(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """V-02, V-03: then they are destroyed, and then the key."""
    pool = dispatcher.pool
    old = (await subscribe(client))["id"]
    await rotate(pool)
    new = (await subscribe(client))["id"]
    used = {
        row["id"]: row["vapid_key_id"]
        for row in await pool.fetch("SELECT id, vapid_key_id FROM push_subscriptions")
    }
    active, retiring = await vapid_keys(pool)
    assert used == {old: retiring.id, new: active.id}
    assert [key.subscriptions for key in (active, retiring)] == [1, 1]

    await end(pool)
    assert await signing_vapid_key(pool, VAULT, retiring.id) is not None
    assert len((await push_get(client))["list"]) == 2
    await pool.execute("UPDATE vapid_keys SET retires_at = now() WHERE id = $1", retiring.id)
    await end(pool)

    assert [item["id"] for item in (await push_get(client))["list"]] == [new]
    assert await signing_vapid_key(pool, VAULT, retiring.id) is None
    assert await vapid_keys(pool) == [active]


async def test_rotations_at_once_leave_one_active_key(dispatcher: RunningDispatcher) -> None:
    pool = dispatcher.pool

    async def rotate_one() -> StoredVapidKey:
        active, _ = await rotate_vapid_key(
            pool, VAULT, VapidKey.generate(), grace=timedelta(hours=1)
        )
        return active

    await asyncio.gather(*(rotate_one() for _ in range(6)))
    keys = await vapid_keys(pool)
    assert [key.retires_at is None for key in keys] == [True] + [False] * (len(keys) - 1)


async def test_creates_go_on_while_the_key_is_rotated(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """V-02: each is under a key that was active when it was made."""

    async def subscribe_often() -> None:
        for _ in range(10):
            await subscribe(client)

    async def rotate_often() -> None:
        for _ in range(10):
            await rotate(dispatcher.pool)

    await asyncio.gather(subscribe_often(), subscribe_often(), rotate_often())
    wrong = await dispatcher.pool.fetchval(
        """
        SELECT count(*) FROM push_subscriptions AS s JOIN vapid_keys AS v ON v.id = s.vapid_key_id
        WHERE s.created_at > v.retires_at
        """
    )
    assert wrong == 0
    assert len((await push_get(client))["list"]) == 20


async def end(pool: asyncpg.Pool) -> None:
    async def tell(_: ControlMessage) -> None:
        pass

    await end_what_is_over(pool, tell)


async def test_capabilities_of_others_come_and_go_while_it_runs(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """As those of services that are found later: in the session at once, and in `using`."""
    capabilities = dispatcher.dispatcher._capabilities
    before = await session_of(client)
    request = {"using": ["urn:example:later"], "methodCalls": []}
    assert (await client.post(request)).status_code == 400

    capabilities.put(Capability(urn="urn:example:later", session={"a": 1}))

    during = await session_of(client)
    assert during["capabilities"]["urn:example:later"] == {"a": 1}
    assert (await client.post(request)).json()["sessionState"] == during["state"]
    capabilities.remove("urn:example:later")
    assert await session_of(client) == before
    assert (await client.post(request)).status_code == 400
