"""Sharing over HTTP: shareWith, isSubscribed, who may set them (RFC 9610 section 2, RFC 9670)."""

import asyncio
import random
from typing import Any

import pytest

from shared.store.people import add_account, add_grant, find_user, remove_grant
from tests.support.dispatcher import JmapClient, RunningDispatcher

pytestmark = pytest.mark.integration

READ = {"mayRead": True, "mayWrite": False, "mayShare": False, "mayDelete": False}
WRITE = {"mayRead": True, "mayWrite": True, "mayShare": False, "mayDelete": True}


@pytest.fixture
async def bob(dispatcher: RunningDispatcher) -> JmapClient:
    return await dispatcher.user("bob")


async def id_of(dispatcher: RunningDispatcher, name: str) -> str:
    user_id = await find_user(dispatcher.pool, name)
    assert user_id is not None
    return user_id


async def session(client: JmapClient) -> Any:
    return (await client.http.get("/jmap/session")).json()


async def shown(client: JmapClient, account_id: str | None = None) -> list[Any]:
    """shareWith of every book."""
    arguments = {"accountId": account_id or client.account_id}
    books = (await client.call("AddressBook/get", **arguments))["list"]
    return [book["shareWith"] for book in books]


async def test_sharing_the_only_book_gives_its_account_and_taking_it_back_takes_it(
    client: JmapClient, bob: JmapClient, dispatcher: RunningDispatcher
) -> None:
    book, bobs_id = await client.address_book(), await id_of(dispatcher, "bob")
    before = await session(bob)
    share = {"shareWith": {bobs_id: {"mayRead": True}}}
    done = await client.call("AddressBook/set", update={book: share})
    assert done["updated"] == {book: {"shareWith": {bobs_id: READ}}}
    assert done["oldState"] != done["newState"]
    [entry] = dispatcher.committed
    assert entry.account_id == client.account_id
    assert entry.states["AddressBook"].state == done["newState"]

    after = await session(bob)
    assert after["state"] != before["state"]
    assert after["accounts"][client.account_id]["isReadOnly"]
    [seen] = (await bob.call("AddressBook/get", accountId=client.account_id))["list"]
    assert seen["myRights"] == READ
    assert seen["isSubscribed"]
    card = {"k": {"addressBookIds": {book: True}}}
    error = await bob.error("ContactCard/set", accountId=client.account_id, create=card)
    assert error["type"] == "accountReadOnly"

    raised = {f"shareWith/{bobs_id}/mayWrite": True, f"shareWith/{bobs_id}/mayDelete": True}
    done = await client.call("AddressBook/set", update={book: raised})
    assert done["updated"] == {book: None}
    made = await bob.call("ContactCard/set", accountId=client.account_id, create=card)
    assert made["created"]
    assert await shown(client) == [{bobs_id: WRITE}]
    assert not (await session(bob))["accounts"][client.account_id]["isReadOnly"]

    await client.call("AddressBook/set", update={book: {"shareWith": None}})
    assert await shown(client) == [None]
    assert (await session(bob))["accounts"].keys() == {bob.account_id}
    error = await bob.error("AddressBook/get", accountId=client.account_id)
    assert error["type"] == "accountNotFound"


async def test_several_books_are_shared_together_or_not_at_all(
    client: JmapClient, bob: JmapClient, dispatcher: RunningDispatcher
) -> None:
    first, bobs_id = await client.address_book(), await id_of(dispatcher, "bob")
    made = await client.call("AddressBook/set", create={"k": {"name": "Work"}})
    assert made["created"]["k"]["shareWith"] is None
    second = made["created"]["k"]["id"]
    share = {"shareWith": {bobs_id: READ}}

    alone = await client.call("AddressBook/set", update={first: share})
    assert alone["notUpdated"][first]["type"] == "forbidden"
    assert alone["oldState"] == alone["newState"]
    assert client.account_id not in (await session(bob))["accounts"]

    since = alone["newState"]
    together = await client.call("AddressBook/set", update={first: share, second: share})
    assert together["notUpdated"] is None
    assert await shown(bob, client.account_id) == [{bobs_id: READ}] * 2
    changes = await client.call("AddressBook/changes", sinceState=since)
    assert set(changes["updated"]) == {first, second}

    third = await client.call("AddressBook/set", create={"k": {"name": "Third"}})
    assert third["created"]["k"]["shareWith"] == {bobs_id: READ}
    secret = {"k": {"name": "Secret", "shareWith": None}}
    refused = await client.call("AddressBook/set", create=secret)
    assert refused["notCreated"]["k"]["type"] == "forbidden"


async def test_only_the_owner_shares_and_only_with_who_is_there(
    client: JmapClient, bob: JmapClient, dispatcher: RunningDispatcher
) -> None:
    book, bobs_id = await client.address_book(), await id_of(dispatcher, "bob")
    adas_id = await id_of(dispatcher, "ada")
    for wrong in ({"unobody": READ}, {adas_id: READ}, {bobs_id: {**READ, "mayShare": True}}):
        answer = await client.call("AddressBook/set", update={book: {"shareWith": wrong}})
        assert answer["notUpdated"][book]["type"] == "invalidProperties"
        assert answer["notUpdated"][book]["properties"] == ["shareWith"]
    await client.call("AddressBook/set", update={book: {"shareWith": {bobs_id: WRITE}}})
    for given in (None, {bobs_id: READ}):
        answer = await bob.call(
            "AddressBook/set", accountId=client.account_id, update={book: {"shareWith": given}}
        )
        assert answer["notUpdated"][book]["type"] == "forbidden"
    assert await shown(client) == [{bobs_id: WRITE}]


async def test_the_role_that_counts_is_the_one_at_the_time_of_writing(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """A session that is a little old does not let a former owner share."""
    await dispatcher.user("bob")
    team = await add_account(dispatcher.pool, "team")
    await add_grant(dispatcher.pool, "team", "ada", "owner")
    await add_grant(dispatcher.pool, "team", "bob", "owner")
    [book] = (await client.call("AddressBook/get", accountId=team))["list"]
    assert book["myRights"]["mayShare"]
    assert book["shareWith"] is None
    await add_grant(dispatcher.pool, "team", "ada", "write")  # and nobody is told
    await dispatcher.user("eve")
    share = {book["id"]: {"shareWith": {await id_of(dispatcher, "eve"): READ}}}
    answer = await client.call("AddressBook/set", accountId=team, update=share)
    assert answer["notUpdated"][book["id"]]["type"] == "forbidden"


async def test_who_may_only_read_may_subscribe_and_nothing_else(
    client: JmapClient, bob: JmapClient, dispatcher: RunningDispatcher
) -> None:
    book, bobs_id = await client.address_book(), await id_of(dispatcher, "bob")
    await client.call("AddressBook/set", update={book: {"shareWith": {bobs_id: READ}}})

    async def change(**arguments: Any) -> Any:
        return await bob.answer("AddressBook/set", {"accountId": client.account_id, **arguments})

    refusals: list[dict[str, Any]] = [
        {"update": {book: {"isSubscribed": False, "name": "Mine"}}},
        {"update": {book: {"name": "Mine"}}},
        {"update": {book: {"isSubscribed": False}}, "create": {"k": {"name": "K"}}},
        {"update": {book: {"isSubscribed": False}}, "destroy": [book]},
        {"update": {book: {"isSubscribed": False}}, "onSuccessSetIsDefault": book},
        {"update": {}},
        {},
    ]
    for refused in refusals:
        name, answer = (await change(**refused))[:2]
        assert (name, answer["type"]) == ("error", "accountReadOnly")
    name, answer = (await change(update={book: {"isSubscribed": False}}))[:2]
    assert name == "AddressBook/set"
    assert answer["updated"] == {book: None}
    [mine] = (await bob.call("AddressBook/get", accountId=client.account_id))["list"]
    [adas] = (await client.call("AddressBook/get"))["list"]
    assert (mine["isSubscribed"], adas["isSubscribed"]) == (False, True)
    assert (mine["name"], adas["name"]) == ("Contacts", "Contacts")


async def test_p08_an_account_in_which_nothing_is_subscribed_to_is_not_in_the_session(
    client: JmapClient, bob: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """RFC 9670 section 1.4; Principal/get has it, and it can be used."""
    first, bobs_id = await client.address_book(), await id_of(dispatcher, "bob")
    made = await client.call("AddressBook/set", create={"k": {"name": "Work"}})
    second = made["created"]["k"]["id"]
    share = {"shareWith": {bobs_id: READ}}
    await client.call("AddressBook/set", update={first: share, second: share})

    async def subscribe(**books: bool) -> None:
        update = {book: {"isSubscribed": wanted} for book, wanted in books.items()}
        answer = await bob.call("AddressBook/set", accountId=client.account_id, update=update)
        assert answer["notUpdated"] is None

    await subscribe(**{first: False})
    assert client.account_id in (await session(bob))["accounts"]
    await subscribe(**{second: False})
    assert client.account_id not in (await session(bob))["accounts"]
    bob.using = [*bob.using, "urn:ietf:params:jmap:principals"]
    people = (await bob.call("Principal/get"))["list"]
    assert client.account_id in {key for one in people for key in one["accounts"] or ()}
    await subscribe(**{first: True})
    assert client.account_id in (await session(bob))["accounts"]
    await client.call("AddressBook/set", destroy=[first])
    assert client.account_id not in (await session(bob))["accounts"]
    await client.call("AddressBook/set", create={"k": {"name": "New"}})
    assert client.account_id in (await session(bob))["accounts"]


async def test_who_unsubscribed_and_is_given_the_account_again_stays_unsubscribed(
    client: JmapClient, bob: JmapClient, dispatcher: RunningDispatcher
) -> None:
    book = await client.address_book()
    await add_grant(dispatcher.pool, client.account_id, "bob", "read")
    account = {"accountId": client.account_id}
    await bob.call("AddressBook/set", **account, update={book: {"isSubscribed": False}})
    await remove_grant(dispatcher.pool, client.account_id, "bob")
    await add_grant(dispatcher.pool, client.account_id, "bob", "read")
    [mine] = (await bob.call("AddressBook/get", **account))["list"]
    assert not mine["isSubscribed"]
    assert client.account_id not in (await session(bob))["accounts"]


async def test_concurrent_shares_end_as_one_of_them(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """Also against the command line: no deadlock, all books alike, grants as shown."""
    for number in range(4):
        await dispatcher.user(f"user{number}")
    ids = [await id_of(dispatcher, f"user{number}") for number in range(4)]
    made = await client.call("AddressBook/set", create={"k": {"name": "Work"}})
    books = [await client.address_book(), made["created"]["k"]["id"]]
    dice = random.Random(9670)

    async def share(_: int) -> None:
        chosen = {key: dice.choice([READ, WRITE]) for key in dice.sample(ids, dice.randint(0, 4))}
        update = {book: {"shareWith": chosen or None} for book in books}
        answer = await client.answer(
            "AddressBook/set", {"accountId": client.account_id, "update": update}
        )
        assert answer[0] == "AddressBook/set"
        assert answer[1]["notUpdated"] is None

    async def grant(number: int) -> None:
        role: Any = dice.choice(["read", "write"])
        await add_grant(dispatcher.pool, client.account_id, ids[number % 4], role)

    for _ in range(8):
        await asyncio.gather(*(share(number) for number in range(3)), *map(grant, range(4)))

    first, second = await shown(client)
    assert first == second
    rows = await dispatcher.pool.fetch(
        "SELECT user_id, role FROM grants WHERE account_id = $1 AND role <> 'owner'",
        client.account_id,
    )
    roles = {"read": READ, "write": WRITE}
    assert (first or {}) == {row["user_id"]: roles[row["role"]] for row in rows}
