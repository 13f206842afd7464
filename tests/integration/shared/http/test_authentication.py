"""Credentials against a real database: tokens, JWTs, what is cached and what is dropped."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from shared.bus.connection import open_bus
from shared.bus.control import ControlMessage, listen_control, send_control
from shared.http.authentication import (
    AuthenticationError,
    Authenticator,
    ScopeMissingError,
)
from shared.http.issuer import JwtSettings, issuer_of
from shared.runtime.clock import SystemClock
from shared.runtime.settings import SettingsError
from shared.store.credentials import (
    UnknownScopeError,
    UnknownTokenError,
    issue_token,
    revoke_token,
)
from shared.store.people import (
    NameTakenError,
    OwnerNeededError,
    UnknownNameError,
    add_account,
    add_grant,
    add_user,
    remove_grant,
    visible_accounts,
)
from shared.store.pool import open_pool
from tests.support.eventually import eventually
from tests.support.jwt import make_jwt, public_jwk

pytestmark = pytest.mark.integration


async def test_a_token_is_known_until_it_is_revoked_everywhere(
    postgres_dsn: str, nats_url: str
) -> None:
    async with open_pool(postgres_dsn) as pool, open_bus(nats_url, name="test") as bus:
        user_id, _ = await add_user(pool, "ada")
        token_id, token = await issue_token(pool, "ada", ["jmap", "append"])
        authenticator = Authenticator(pool, clock=SystemClock())
        await listen_control(bus, authenticator.receive_control)
        credential = await authenticator.authenticate(f"Bearer {token}", scope="append")
        assert (credential.id, credential.user_id) == (token_id, user_id)
        with pytest.raises(ScopeMissingError):
            await authenticator.authenticate(f"Bearer {token}", scope="operate")
        await revoke_token(pool, token_id)
        await send_control(bus, ControlMessage(revoked=token_id))

        async def is_refused() -> bool:
            try:
                await authenticator.authenticate(f"Bearer {token}")
            except AuthenticationError:
                return True
            return False

        await eventually(is_refused, seconds=2)
        with pytest.raises(UnknownTokenError):
            await revoke_token(pool, token_id)


async def test_what_is_cached_is_forgotten_without_a_message(postgres_dsn: str) -> None:
    class Clock(SystemClock):
        at = 0.0

        def monotonic(self) -> float:
            return self.at

    async with open_pool(postgres_dsn) as pool:
        await add_user(pool, "ada")
        token_id, token = await issue_token(pool, "ada")
        clock = Clock()
        authenticator = Authenticator(pool, clock=clock)
        await authenticator.authenticate(f"Bearer {token}")
        await revoke_token(pool, token_id)
        await authenticator.authenticate(f"Bearer {token}")
        clock.at = 2.0
        with pytest.raises(AuthenticationError):
            await authenticator.authenticate(f"Bearer {token}")


async def test_who_asks_many_times_at_once_is_looked_up_once(postgres_dsn: str) -> None:
    """Or the end of a busy client's entry would take every connection of the pool."""
    async with open_pool(postgres_dsn) as pool:
        await add_user(pool, "ada")
        token_id, token = await issue_token(pool, "ada")
        authenticator = Authenticator(pool, clock=SystemClock())
        found = await asyncio.gather(
            *(authenticator.authenticate(f"Bearer {token}") for _ in range(50))
        )
        assert {credential.id for credential in found} == {token_id}
        assert pool.get_size() == 1


async def test_an_expired_token_is_unknown(postgres_dsn: str) -> None:
    async with open_pool(postgres_dsn) as pool:
        await add_user(pool, "ada")
        _, token = await issue_token(pool, "ada", ttl=timedelta(seconds=-1))
        with pytest.raises(AuthenticationError):
            await Authenticator(pool, clock=SystemClock()).authenticate(f"Bearer {token}")


async def test_a_jwt_of_the_issuer_is_a_credential(postgres_dsn: str, tmp_path: Path) -> None:
    key, clock = ed25519.Ed25519PrivateKey.generate(), SystemClock()
    jwks = tmp_path / "jwks.json"
    jwks.write_text(json.dumps({"keys": [public_jwk(key, "k1")]}))
    settings = JwtSettings(jwks=str(jwks), issuer="https://id.example", audience="tidings")
    claims = {
        "iss": "https://id.example",
        "aud": "tidings",
        "exp": clock.now().timestamp() + 60,
        "sub": "ada",
    }
    async with open_pool(postgres_dsn) as pool:
        user_id, _ = await add_user(pool, "ada")
        authenticator = Authenticator(pool, clock=clock, issuer=issuer_of(settings, clock))
        token = make_jwt(key, claims, alg="EdDSA", kid="k1")
        credential = await authenticator.authenticate(f"Bearer {token}")
        assert (credential.user_id, credential.scopes) == (user_id, frozenset({"jmap"}))
        assert credential.expires_at is not None
        for bad in (
            make_jwt(key, {**claims, "sub": "nobody"}, alg="EdDSA", kid="k1"),
            make_jwt(key, {**claims, "exp": 1}, alg="EdDSA", kid="k1"),
            token + "x",
        ):
            with pytest.raises(AuthenticationError):
                await authenticator.authenticate(f"Bearer {bad}")
    with pytest.raises(SettingsError):
        issuer_of(JwtSettings(jwks=str(jwks)), clock)


async def test_people_are_told_apart_by_name(postgres_dsn: str) -> None:
    async with open_pool(postgres_dsn) as pool:
        user_id, account_id = await add_user(pool, "ada")
        with pytest.raises(NameTakenError):
            await add_user(pool, "ada")
        for wrong in (issue_token(pool, "bob"), add_grant(pool, account_id, "bob", "read")):
            with pytest.raises(UnknownNameError):
                await wrong
        with pytest.raises(UnknownScopeError):
            await issue_token(pool, "ada", ["everything"])
        team = await add_account(pool, "team")
        await add_account(pool, "team")
        with pytest.raises(UnknownNameError):
            await add_grant(pool, "team", "ada", "read")
        assert await add_grant(pool, team, "ada", "read") == user_id
        assert await add_grant(pool, team, "ada", "write") == user_id
        accounts = await visible_accounts(pool, user_id)
        shown = [(item.id, item.role, item.is_personal) for item in accounts]
        assert shown == [(account_id, "owner", True), (team, "write", False)]
        await remove_grant(pool, team, "ada")
        with pytest.raises(UnknownNameError):
            await remove_grant(pool, team, "ada")
        for change in (
            remove_grant(pool, account_id, "ada"),
            add_grant(pool, account_id, "ada", "read"),
        ):
            with pytest.raises(OwnerNeededError):
                await change
