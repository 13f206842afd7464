"""A dispatcher that is told to end answers what it has in hand over NATS, and takes no more."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import msgspec
import pytest
from msgspec.json import decode, encode
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from services.cli.embedded.ports import free_port
from shared.bus.connection import Bus, open_bus
from shared.http.forwarded import FORWARD_SUBJECT, ForwardedRequest, encode_forwarded
from shared.store.credentials import issue_token
from shared.store.people import add_user
from shared.store.pool import open_pool
from tests.support.dispatcher import SECRET_KEY
from tests.support.eventually import eventually
from tests.support.gateway import credential_of
from tests.support.processes import Process
from tests.support.servers import NatsServer

pytestmark = pytest.mark.end_to_end

APPEND_SUBJECT = "tidings.append"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


class Draining(msgspec.Struct, frozen=True):
    """A dispatcher, and who asks it over NATS about an account."""

    process: Process
    bus: Bus
    pool: asyncpg.Pool
    user_id: str
    account_id: str
    token: str

    async def update(self) -> Msg:
        """What a gateway forwards from a WebSocket."""
        call = ["AddressBook/set", {"accountId": self.account_id, "create": {"k": {"name": "b"}}}]
        using = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:contacts"]
        body = encode({"using": using, "methodCalls": [[*call, "0"]]})
        forwarded = ForwardedRequest(credential=credential_of(self.user_id), body=msgspec.Raw(body))
        return await self._ask(FORWARD_SUBJECT, encode_forwarded(forwarded), {})

    async def append(self) -> Msg:
        body = {"@type": "StateChange", "changed": {self.account_id: {"Email": "e1"}}}
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self._ask(APPEND_SUBJECT, json.dumps(body).encode(), headers)

    async def _ask(self, subject: str, body: bytes, headers: Mapping[str, str]) -> Msg:
        return await self.bus.client.request(subject, body, timeout=20, headers=dict(headers))

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """No change of the account can be committed."""
        async with self.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "SELECT true FROM accounts WHERE id = $1 FOR UPDATE", self.account_id
            )
            yield

    async def until_waiting(self, count: int) -> None:
        async def is_waiting() -> bool:
            return bool(await self.pool.fetchval(WAITING) == count)

        await eventually(is_waiting)

    async def until_nobody_is_there(self) -> None:
        async def is_nobody() -> bool:
            try:
                await self._ask(FORWARD_SUBJECT, b"{", {})
            except NoRespondersError:
                return True
            return False

        await eventually(is_nobody)

    def end(self) -> None:
        os.kill(self.process.pid, signal.SIGTERM)


@pytest.fixture
async def dispatcher(fresh_nats: NatsServer, postgres_dsn: str) -> AsyncIterator[Draining]:
    environment = {
        "TIDINGS_NATS_URL": fresh_nats.url,
        "TIDINGS_POSTGRES_URL": postgres_dsn,
        "TIDINGS_SECRET_KEY": SECRET_KEY,
        "TIDINGS_PORT": str(free_port()),
        "TIDINGS_DRAIN_SECONDS_MAX": "2",
    }
    migrating = Process("migrate", environment=environment)
    try:
        assert migrating.wait(seconds=30) == 0, migrating.output()
    finally:
        migrating.close()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(postgres_dsn))
        bus = await stack.enter_async_context(open_bus(fresh_nats.url, name="test"))
        user_id, account_id = await add_user(pool, "anna")
        _, token = await issue_token(pool, "anna", ["append"])
        process = Process("dispatcher", environment=environment)
        stack.callback(process.close)
        draining = Draining(process, bus, pool, user_id, account_id, token)

        async def is_there() -> bool:
            assert process.exit_code() is None, process.output()
            try:
                return bool((await draining.append()).data)
            except NoRespondersError:
                return False

        await eventually(is_there, seconds=30)
        yield draining


async def test_what_is_in_hand_over_nats_is_answered_and_nothing_more_is_taken(
    dispatcher: Draining,
) -> None:
    async with asyncio.TaskGroup() as tasks, dispatcher.locked():
        update = tasks.create_task(dispatcher.update())
        append = tasks.create_task(dispatcher.append())
        await dispatcher.until_waiting(2)
        dispatcher.end()
        await dispatcher.until_nobody_is_there()
        with pytest.raises(NoRespondersError):
            await dispatcher.append()

    answered = decode(update.result().data)
    assert answered["status"] == 200
    [[name, response, _]] = answered["body"]["methodResponses"]
    assert name == "AddressBook/set"
    assert response["created"]["k"]["id"]
    assert list(decode(append.result().data)) == ["cursor"]
    assert dispatcher.process.wait() == 0


async def test_what_cannot_be_finished_in_time_is_said_to_be_uncertain(
    dispatcher: Draining,
) -> None:
    async with dispatcher.locked(), asyncio.TaskGroup() as tasks:
        update = tasks.create_task(dispatcher.update())
        append = tasks.create_task(dispatcher.append())
        await dispatcher.until_waiting(2)
        dispatcher.end()

    answered = decode(update.result().data)
    assert answered["status"] == 503
    assert answered["body"]["type"] == "urn:ietf:params:jmap:error:serverUnavailable"
    assert "may have taken effect" in answered["body"]["detail"]
    assert (append.result().headers or {})["Nats-Service-Error-Code"] == "503"
    assert "may have been appended" in decode(append.result().data)["detail"]
    assert dispatcher.process.wait() == 0
