"""A push subscription ends with its credential or with its time, and nothing of it is left."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from services.dispatcher.subscription_jobs import end_what_is_over
from shared.bus.control import ControlMessage
from shared.http.issuer import JwtSettings
from shared.jmap.ids import utc_date
from shared.store.credentials import issue_token, revoke_token
from shared.store.push_subscriptions import vacuum_secrets
from tests.support.dispatcher import JmapClient, RunningDispatcher, running_dispatcher
from tests.support.eventually import eventually
from tests.support.jwt import make_jwt, public_jwk
from tests.support.push_subscriptions import URL, push_error, push_get, shown, subscribe, update

pytestmark = pytest.mark.integration

TABLES = ("push_subscriptions", "push_subscription_keys", "lanes", "delivery_attempts")


async def rows_left(pool: asyncpg.Pool) -> int:
    counts = [await pool.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES]
    return sum(counts)


async def with_token(
    dispatcher: RunningDispatcher, ttl: timedelta | None = None
) -> tuple[JmapClient, str]:
    """One more client of ada's, and the id of its token."""
    account_id = await dispatcher.pool.fetchval("SELECT id FROM accounts")
    token_id, token = await issue_token(dispatcher.pool, "ada", ttl=ttl)
    dispatcher.clients.append(JmapClient(dispatcher.url, token, account_id))
    return dispatcher.clients[-1], token_id


async def end(dispatcher: RunningDispatcher) -> list[str]:
    """Do the job now; the ids that the deliverer is told to forget."""
    told: list[ControlMessage] = []

    async def tell(message: ControlMessage) -> None:
        told.append(message)

    await end_what_is_over(dispatcher.pool, tell)
    return [item for message in told for item in message.subscriptions_ended or []]


async def test_revoking_a_token_erases_what_it_created_at_once(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-20, P-24: and nothing that other tokens created."""
    kept = await subscribe(client)
    other, token_id = await with_token(dispatcher)
    gone = [(await subscribe(other))["id"] for _ in range(3)]

    assert sorted(await revoke_token(dispatcher.pool, token_id)) == sorted(gone)

    rows = await dispatcher.pool.fetch("SELECT id FROM push_subscriptions")
    assert [row["id"] for row in rows] == [kept["id"]]
    assert await rows_left(dispatcher.pool) == 3


@pytest.mark.usefixtures("client")
async def test_a_token_that_was_revoked_a_moment_ago_creates_nothing(
    dispatcher: RunningDispatcher,
) -> None:
    """P-20: although the dispatcher still remembers it."""
    other, token_id = await with_token(dispatcher)
    await push_get(other)
    await revoke_token(dispatcher.pool, token_id)

    given = {"deviceClientId": "d", "url": URL}
    assert (await push_error(other, "set", create={"k": given}))["type"] == "forbidden"
    assert await rows_left(dispatcher.pool) == 0


@pytest.mark.usefixtures("client")
async def test_creates_that_meet_a_revocation_leave_nothing_behind(
    dispatcher: RunningDispatcher,
) -> None:
    """P-20: whichever of both comes first."""
    given = {"deviceClientId": "d", "url": URL}
    for _ in range(8):
        other, token_id = await with_token(dispatcher)
        await push_get(other)
        await asyncio.gather(
            other.answer("PushSubscription/set", {"create": {"k": given}}),
            revoke_token(dispatcher.pool, token_id),
            other.answer("PushSubscription/set", {"create": {"k": given}}),
        )
    assert await rows_left(dispatcher.pool) == 0


@pytest.mark.usefixtures("client")
async def test_with_a_token_of_limited_life_it_ends_and_is_not_bounded_before(
    dispatcher: RunningDispatcher,
) -> None:
    """P-21."""
    far = utc_date(datetime.now(UTC) + timedelta(days=400))
    other, token_id = await with_token(dispatcher, timedelta(days=60))
    unbounded = await subscribe(other)
    assert unbounded["expires"] is None
    asked = await subscribe(other, expires=far)
    assert "expires" not in asked
    assert await update(other, unbounded["id"], expires=far) is None
    assert (await shown(other, unbounded["id"]))["expires"] == far
    assert await update(other, unbounded["id"], expires=None) is None

    ends = await dispatcher.pool.fetch("SELECT DISTINCT ends_at FROM push_subscriptions")
    token_ends = await dispatcher.pool.fetchval(
        "SELECT expires_at FROM tokens WHERE id = $1", token_id
    )
    assert [row["ends_at"] for row in ends] == [token_ends]


async def test_when_its_token_expires_it_is_erased(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-20, P-21, P-24."""
    kept = await subscribe(client)
    other, _ = await with_token(dispatcher, timedelta(seconds=2))
    created = await subscribe(other)
    assert await end(dispatcher) == []

    async def ended() -> list[str]:
        return await end(dispatcher)

    assert await eventually(ended) == [created["id"]]
    rows = await dispatcher.pool.fetch("SELECT subscription_id FROM push_subscription_keys")
    assert [row["subscription_id"] for row in rows] == [kept["id"]]


async def test_an_expired_one_is_neither_shown_nor_revived(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-15, P-24: even before it is erased."""
    created = await subscribe(client)
    await dispatcher.pool.execute(
        "UPDATE push_subscriptions SET expires_at = now(), ends_at = now()"
    )
    assert await push_get(client, ids=[created["id"]]) == {
        "list": [],
        "notFound": [created["id"]],
    }
    answer = await client.answer(
        "PushSubscription/set", {"update": {created["id"]: {"expires": None}}}
    )
    assert answer[1]["notUpdated"][created["id"]]["type"] == "notFound"

    assert await end(dispatcher) == [created["id"]]
    assert await rows_left(dispatcher.pool) == 0
    await vacuum_secrets(dispatcher.pool)


async def test_an_unverified_one_stays_until_it_expires(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-15: the code may come late, from a device that was off."""
    await subscribe(client)
    await dispatcher.pool.execute(
        "UPDATE push_subscriptions SET created_at = now() - interval '6 days'"
    )
    assert await end(dispatcher) == []


async def test_two_dispatchers_end_each_of_them_once(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    ids = [(await subscribe(client))["id"] for _ in range(20)]
    await dispatcher.pool.execute("UPDATE push_subscriptions SET ends_at = now()")

    ended = await asyncio.gather(*(end(dispatcher) for _ in range(3)))
    assert sorted(item for part in ended for item in part) == sorted(ids)


async def test_it_goes_with_its_user(client: JmapClient, dispatcher: RunningDispatcher) -> None:
    """P-24."""
    await subscribe(client)
    await dispatcher.pool.execute("DELETE FROM users WHERE name = 'ada'")

    assert await rows_left(dispatcher.pool) == 0


async def test_that_of_a_jwt_is_its_alone_and_ends_with_it(
    postgres_dsn: str, tmp_path: Path
) -> None:
    """P-20, P-23: an access token is all that we see of OAuth."""
    key = ed25519.Ed25519PrivateKey.generate()
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [public_jwk(key, "k1")]}))
    jwt = JwtSettings(jwks=str(jwks), issuer="https://id.example", audience="tidings")
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    claims = {"iss": "https://id.example", "aud": "tidings", "exp": ends_at.timestamp()}
    async with running_dispatcher(postgres_dsn, jwt=jwt) as dispatcher:
        client = await dispatcher.user("ada")
        holders = []
        for number in range(2):
            token = make_jwt(key, {**claims, "sub": "ada", "n": number}, alg="EdDSA", kid="k1")
            holders.append(JmapClient(dispatcher.url, token, client.account_id))
        dispatcher.clients.extend(holders)
        created = await subscribe(holders[0])

        assert (await push_get(holders[0]))["list"][0]["id"] == created["id"]
        assert (await push_get(holders[1]))["list"] == (await push_get(client))["list"] == []
        assert await dispatcher.pool.fetchval("SELECT ends_at FROM push_subscriptions") == ends_at
