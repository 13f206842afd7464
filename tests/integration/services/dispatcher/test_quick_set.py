"""A /set that was worked out without the lock is as if it had held it (C-21, C-32)."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.jmap.ids import modseq_of
from shared.jmap.session import CoreLimits
from shared.store.credentials import issue_token
from shared.store.people import add_grant, remove_grant
from tests.support.dispatcher import JmapClient, RunningDispatcher, running_dispatcher

pytestmark = pytest.mark.integration

WRITERS = 8


@pytest.fixture
async def writers(postgres_dsn: str) -> AsyncIterator[list[JmapClient]]:
    """Clients of one account, through two dispatchers in turn."""
    limits = CoreLimits(max_concurrent_requests=64)
    async with (
        running_dispatcher(postgres_dsn, limits=limits) as one,
        running_dispatcher(postgres_dsn, limits=limits) as two,
    ):
        first = await one.user("ada")
        _, token = await issue_token(one.pool, "ada")
        for number in range(1, WRITERS):
            url = (one, two)[number % 2].url
            one.clients.append(JmapClient(url, token, first.account_id))
        yield one.clients


async def test_of_many_with_one_uid_at_once_one_is_made(writers: list[JmapClient]) -> None:
    book = await writers[0].address_book()
    for turn in range(5):
        card = {"addressBookIds": {book: True}, "uid": f"urn:uuid:{turn}"}
        answers = await asyncio.gather(
            *(client.call("ContactCard/set", create={"k": card}) for client in writers)
        )
        made = [answer["created"]["k"]["id"] for answer in answers if answer["created"]]
        assert len(made) == 1
        refused = [answer["notCreated"]["k"] for answer in answers if answer["notCreated"]]
        assert {error["existingId"] for error in refused} == set(made)
        assert {tuple(error["properties"]) for error in refused} == {("uid",)}
    assert len((await writers[0].call("ContactCard/get"))["list"]) == 5


async def test_patches_of_one_card_at_once_are_all_kept(writers: list[JmapClient]) -> None:
    card = await writers[0].add_card(nicknames={})

    async def patch(client: JmapClient, number: int) -> None:
        for turn in range(5):
            update = {card: {f"nicknames/n{number}-{turn}": {"name": "x"}}}
            answer = await client.call("ContactCard/set", update=update)
            assert answer["notUpdated"] is None

    await asyncio.gather(*(patch(client, number) for number, client in enumerate(writers)))
    [shown] = (await writers[0].call("ContactCard/get", ids=[card]))["list"]
    assert len(shown["nicknames"]) == 5 * WRITERS


async def test_no_card_is_left_in_a_book_that_goes_meanwhile(writers: list[JmapClient]) -> None:
    for _ in range(5):
        made = await writers[0].call("AddressBook/set", create={"k": {"name": "Work"}})
        book = made["created"]["k"]["id"]
        create = {"k": {"addressBookIds": {book: True}}}
        *answers, gone = await asyncio.gather(
            *(client.call("ContactCard/set", create=create) for client in writers),
            writers[0].call("AddressBook/set", destroy=[book], onDestroyRemoveContents=True),
        )
        assert gone["destroyed"] == [book]
        for answer in answers:
            refused = answer["notCreated"]
            assert refused is None or refused["k"]["properties"] == ["addressBookIds"]
    assert (await writers[0].call("ContactCard/get"))["list"] == []


async def test_every_state_is_left_once(writers: list[JmapClient]) -> None:
    book = await writers[0].address_book()

    async def write(client: JmapClient) -> list[tuple[str, str]]:
        steps = []
        for _ in range(6):
            create = {"k": {"addressBookIds": {book: True}}}
            answer = await client.call("ContactCard/set", create=create)
            card = answer["created"]["k"]["id"]
            steps.append((answer["oldState"], answer["newState"]))
            answer = await client.call("ContactCard/set", destroy=[card])
            assert answer["destroyed"] == [card]
            steps.append((answer["oldState"], answer["newState"]))
        return steps

    steps = [step for each in await asyncio.gather(*map(write, writers)) for step in each]
    chain = dict(steps)
    assert len(chain) == len(steps) == 12 * WRITERS
    state = "s0"
    for _ in steps:
        assert (modseq_of(chain[state]) or 0) > (modseq_of(state) or 0)
        state = chain[state]
    assert state == (await writers[0].call("ContactCard/get", ids=[]))["state"]


async def test_a_grant_that_was_taken_is_obeyed_though_nobody_was_told(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    bob = await dispatcher.user("bob")
    book = await client.address_book()
    create = {"k": {"addressBookIds": {book: True}}}
    account = {"accountId": client.account_id, "create": create}
    await add_grant(dispatcher.pool, client.account_id, "bob", "write")
    assert (await bob.call("ContactCard/set", **account))["created"]
    await add_grant(dispatcher.pool, client.account_id, "bob", "read")
    assert (await bob.error("ContactCard/set", **account))["type"] == "accountReadOnly"
    await remove_grant(dispatcher.pool, client.account_id, "bob")
    assert (await bob.error("ContactCard/set", **account))["type"] == "accountNotFound"
    assert len((await client.call("ContactCard/get"))["list"]) == 1
