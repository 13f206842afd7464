"""An outside append reaches who listens; everything in one process, as `tidings up` has it."""

import pytest

from shared.store.credentials import issue_token
from tests.support.appends import change
from tests.support.everything import everything_running
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

TARGET = "/jmap/eventsource?types=Email&closeafter=no&ping=0"


async def test_an_outside_append_is_pushed_and_its_cursor_resumes(
    clean_nats_url: str, postgres_dsn: str
) -> None:
    async with everything_running(clean_nats_url, postgres_dsn) as running:
        client, _ = await running.user("ada")
        _, token = await issue_token(running.everything.pool, "ada", ["append"])
        producer = {"Authorization": f"Bearer {token}"}
        authorization = f"Authorization: Bearer {client.token}"

        async def append(state: str) -> str:
            body = change({client.account_id: {"Email": state}})
            response = await client.http.post("/tidings/append", json=body, headers=producer)
            assert response.status_code == 200, response.text
            return str(response.json()["cursor"])

        async with await EventSourceClient.get(running.port, TARGET, authorization) as stream:
            first = await append("e1")
            assert await stream.state() == (first, {client.account_id: {"Email": "e1"}})
        second = await append("e2")
        resumed = f"Last-Event-ID: {first}"
        async with await EventSourceClient.get(
            running.port, TARGET, authorization, resumed
        ) as stream:
            assert (await stream.state())[1] == {client.account_id: {"Email": "e2"}}
        current = f"Last-Event-ID: {second}"
        async with await EventSourceClient.get(
            running.port, TARGET, authorization, current
        ) as stream:
            await append("e3")
            assert (await stream.state())[1] == {client.account_id: {"Email": "e3"}}


@pytest.mark.parametrize("type_name", ["AddressBook", "ContactCard", "Blob"])
async def test_types_that_have_methods_here_are_the_servers_own(
    clean_nats_url: str, postgres_dsn: str, type_name: str
) -> None:
    async with everything_running(clean_nats_url, postgres_dsn) as running:
        client, _ = await running.user("ada")
        _, token = await issue_token(running.everything.pool, "ada", ["append"])
        response = await client.http.post(
            "/tidings/append",
            json=change({client.account_id: {type_name: "s9"}}),
            headers={"Authorization": f"Bearer {token}"},
        )
        assert response.status_code == 403
