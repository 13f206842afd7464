"""AddressBook and ContactCard get, set, changes, over HTTP."""

import pytest

from tests.support.dispatcher import JmapClient, RunningDispatcher

pytestmark = pytest.mark.integration


async def test_a_new_account_has_one_default_address_book(client: JmapClient) -> None:
    answer = await client.call("AddressBook/get")
    [book] = answer["list"]
    assert book["isDefault"]
    assert book["isSubscribed"]
    assert book["shareWith"] is None
    assert book["myRights"] == {
        "mayRead": True,
        "mayWrite": True,
        "mayShare": True,
        "mayDelete": True,
    }
    assert answer["state"] == "s1"
    assert (await client.call("ContactCard/get"))["state"] == "s0"


async def test_a_card_is_created_changed_and_destroyed(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    book = await client.address_book()
    card = {"addressBookIds": {book: True}, "name": {"full": "Ada Lovelace"}}
    made = await client.call("ContactCard/set", create={"k": card}, ifInState="s0")
    assert made["notCreated"] is None
    card_id = made["created"]["k"]["id"]
    assert made["created"]["k"]["uid"].startswith("urn:uuid:")
    assert (made["oldState"], made["newState"]) == ("s0", "s2")
    [entry] = dispatcher.committed
    assert entry.states["ContactCard"].state == "s2"
    assert entry.cause.method == "ContactCard/set"

    patch = {"name/full": "Ada King", "vendor.example:x": [1, None]}
    changed = await client.call("ContactCard/set", update={card_id: patch})
    assert set(changed["updated"][card_id] or {}) <= {"updated"}
    got = await client.call("ContactCard/get", ids=[card_id, "nope", card_id])
    [shown] = got["list"]
    assert shown["name"] == {"full": "Ada King"}
    assert shown["vendor.example:x"] == [1, None]
    assert shown["addressBookIds"] == {book: True}
    assert got["notFound"] == ["nope"]
    assert got["state"] == changed["newState"]

    gone = await client.call("ContactCard/set", destroy=[card_id])
    assert gone["destroyed"] == [card_id]
    changes = await client.call("ContactCard/changes", sinceState="s2")
    assert changes["destroyed"] == [card_id]
    assert changes["newState"] == gone["newState"]
    changes = await client.call("ContactCard/changes", sinceState="s0")
    assert not changes["created"] + changes["updated"] + changes["destroyed"]


async def test_changes_can_be_cut_at_any_record(client: JmapClient) -> None:
    ids = [await client.add_card(name={"full": str(number)}) for number in range(5)]
    await client.call("ContactCard/set", update={ids[0]: {"name/full": "changed"}})
    state = "s0"
    seen: list[str] = []
    while True:
        page = await client.call("ContactCard/changes", sinceState=state, maxChanges=2)
        assert len(page["created"] + page["updated"] + page["destroyed"]) <= 2
        assert not (set(page["updated"]) - set(seen)), "updated before it was created"
        seen += page["created"]
        state = page["newState"]
        if not page["hasMoreChanges"]:
            break
    assert sorted(seen) == sorted(ids)
    assert state == (await client.call("ContactCard/get", ids=[]))["state"]


async def test_one_bad_record_does_not_stop_the_others(client: JmapClient) -> None:
    book = await client.address_book()
    answer = await client.call(
        "ContactCard/set",
        create={
            "good": {"addressBookIds": {book: True}},
            "no-book": {"name": {"full": "x"}},
            "bad-book": {"addressBookIds": {"bnone": True}},
            "bad-name": {"addressBookIds": {book: True}, "name": {"full": 7}},
            "bad-id": {"addressBookIds": {book: True}, "id": "cmine"},
        },
        update={"nope": {}},
        destroy=["nope"],
    )
    assert set(answer["created"]) == {"good"}
    errors = answer["notCreated"]
    assert errors["no-book"]["properties"] == ["addressBookIds"]
    assert errors["bad-book"]["properties"] == ["addressBookIds"]
    assert errors["bad-name"]["properties"] == ["name"]
    assert errors["bad-id"]["properties"] == ["id"]
    assert answer["notUpdated"]["nope"]["type"] == "notFound"
    assert answer["notDestroyed"]["nope"]["type"] == "notFound"


async def test_a_card_goes_into_a_book_made_in_the_same_request(client: JmapClient) -> None:
    account = client.account_id
    body = await client.request(
        ["AddressBook/set", {"accountId": account, "create": {"b": {"name": "Work"}}}, "0"],
        [
            "ContactCard/set",
            {"accountId": account, "create": {"c": {"addressBookIds": {"#b": True}}}},
            "1",
        ],
        [
            "ContactCard/get",
            {
                "accountId": account,
                "#ids": {"resultOf": "1", "name": "ContactCard/set", "path": "/created/c/id"},
            },
            "2",
        ],
        [
            "ContactCard/get",
            {"accountId": account, "ids": ["#c"], "properties": ["addressBookIds"]},
            "3",
        ],
        created_ids={"old": "cold"},
    )
    answers = {answer[2]: answer for answer in body["methodResponses"]}
    book = answers["0"][1]["created"]["b"]["id"]
    card = answers["1"][1]["created"]["c"]["id"]
    assert answers["2"][1]["type"] == "invalidArguments"  # an id, where an array belongs
    assert answers["3"][1]["list"] == [{"id": card, "addressBookIds": {book: True}}]
    assert body["createdIds"] == {"old": "cold", "b": book, "c": card}


async def test_a_uid_is_in_an_account_once(client: JmapClient) -> None:
    book = await client.address_book()
    card = {"addressBookIds": {book: True}, "uid": "urn:uuid:1"}
    first = await client.call("ContactCard/set", create={"a": card, "b": card})
    assert set(first["created"]) == {"a"}
    assert first["notCreated"]["b"]["properties"] == ["uid"]
    again = await client.call("ContactCard/set", create={"c": card})
    assert again["notCreated"]["c"]["properties"] == ["uid"]
    moved = await client.call(
        "ContactCard/set", create={"d": card}, destroy=[first["created"]["a"]["id"]]
    )
    assert set(moved["created"]) == {"d"}


async def test_the_default_moves_when_asked_and_when_it_is_destroyed(client: JmapClient) -> None:
    first = await client.address_book()
    made = await client.call(
        "AddressBook/set", create={"k": {"name": "Work"}}, onSuccessSetIsDefault="#k"
    )
    work = made["created"]["k"]["id"]
    assert made["created"]["k"]["isDefault"]
    assert made["updated"] == {first: {"isDefault": False}}
    gone = await client.call("AddressBook/set", destroy=[work])
    assert gone["updated"] == {first: {"isDefault": True}}


async def test_a_filled_address_book_is_destroyed_only_when_asked(client: JmapClient) -> None:
    book = await client.address_book()
    made = await client.call("AddressBook/set", create={"k": {"name": "Work"}})
    work = made["created"]["k"]["id"]
    only_work = await client.add_card(addressBookIds={work: True})
    both = await client.add_card(addressBookIds={work: True, book: True})
    kept = await client.call("AddressBook/set", destroy=[work])
    assert kept["notDestroyed"][work]["type"] == "addressBookHasContents"
    before = (await client.call("ContactCard/get", ids=[]))["state"]
    await client.call("AddressBook/set", destroy=[work], onDestroyRemoveContents=True)
    changes = await client.call("ContactCard/changes", sinceState=before)
    assert changes["destroyed"] == [only_work]
    assert changes["updated"] == [both]
    got = await client.call("ContactCard/get", ids=[both])
    assert got["list"][0]["addressBookIds"] == {book: True}
