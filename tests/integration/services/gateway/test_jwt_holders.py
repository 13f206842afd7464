"""Who comes with the JWT of an outside issuer has streams and tickets as anybody else."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from shared.http.issuer import JwtSettings
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.jwt import make_jwt, public_jwk
from tests.support.servers import NatsServer
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

ISSUER, AUDIENCE = "https://id.example", "tidings"
KEY = ed25519.Ed25519PrivateKey.generate()
TARGET = "/jmap/eventsource?types=ContactCard"


def jwt_of(user: str, *, seconds: float = 60) -> str:
    ends_at = datetime.now(UTC) + timedelta(seconds=seconds)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": ends_at.timestamp(), "sub": user}
    return make_jwt(KEY, claims, alg="EdDSA", kid="k1")


@pytest.fixture
async def running(
    fresh_nats: NatsServer, postgres_dsn: str, tmp_path: Path
) -> AsyncIterator[RunningEverything]:
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [public_jwk(KEY, "k1")]}))
    settings = JwtSettings(jwks=str(jwks), issuer=ISSUER, audience=AUDIENCE)
    async with everything_running(fresh_nats.url, postgres_dsn, jwt=settings) as everything:
        yield everything


async def with_jwt(running: RunningEverything, name: str, **more: float) -> JmapClient:
    client, _ = await running.user(name)
    holder = JmapClient(running.url, jwt_of(name, **more), client.account_id)
    running.clients.append(holder)
    return holder


async def test_the_sweep_lets_a_jwts_stream_live(running: RunningEverything) -> None:
    """It is in no table, so that no table says that it was revoked."""
    client = await with_jwt(running, "anna")
    authorization = f"Authorization: Bearer {client.token}"
    async with await EventSourceClient.get(running.port, TARGET, authorization) as stream:
        assert stream.status == 200
        await running.everything.gateway.look_at_all_again()
        await client.add_card(name={"full": "A"})
        assert (await stream.state())[1].keys() == {client.account_id}


async def test_a_jwt_gets_tickets_which_are_used_once(running: RunningEverything) -> None:
    client = await with_jwt(running, "anna")
    given = await client.http.post("/jmap/ticket")
    assert given.status_code == 200
    target = f"{TARGET}&ticket={given.json()['ticket']}"
    async with await EventSourceClient.get(running.port, target) as stream:
        assert stream.status == 200
        async with await EventSourceClient.get(running.port, target) as again:
            assert again.status == 401
        await client.add_card(name={"full": "A"})
        assert (await stream.state())[1].keys() == {client.account_id}


async def test_a_ticket_ends_with_its_jwt(running: RunningEverything) -> None:
    client = await with_jwt(running, "anna", seconds=4)
    target = f"{TARGET}&ticket={(await client.http.post('/jmap/ticket')).json()['ticket']}"
    async with await EventSourceClient.get(running.port, target) as stream:
        assert stream.status == 200
        assert await stream.chunk() == b"", "ended just before the JWT"


async def test_a_ticket_is_worth_nothing_once_its_jwt_has_expired(
    running: RunningEverything,
) -> None:
    client = await with_jwt(running, "anna", seconds=2)
    target = f"{TARGET}&ticket={(await client.http.post('/jmap/ticket')).json()['ticket']}"
    pool = running.everything.pool
    await eventually(
        lambda: pool.fetchval("SELECT (jwt->>'expires_at')::timestamptz < now() FROM tickets")
    )
    async with await EventSourceClient.get(running.port, target) as stream:
        assert stream.status == 401


async def test_the_tickets_of_a_jwt_are_bounded(running: RunningEverything) -> None:
    client = await with_jwt(running, "anna")
    other = await with_jwt(running, "bob")
    for _ in range(100):
        await client.http.post("/jmap/ticket")
    assert (await client.http.post("/jmap/ticket")).status_code == 429
    assert (await other.http.post("/jmap/ticket")).status_code == 200
