"""Principals over HTTP (RFC 9670): whom a user sees, and what the session says."""

from typing import Any

import pytest

from shared.store.people import add_account, add_grant, find_user
from tests.support.dispatcher import PRINCIPALS, USING, JmapClient, RunningDispatcher

pytestmark = pytest.mark.integration

OWNER = "urn:ietf:params:jmap:principals:owner"


@pytest.fixture
async def ada(client: JmapClient) -> JmapClient:
    client.using = [*USING, PRINCIPALS]
    return client


async def found(client: JmapClient, **condition: Any) -> list[str]:
    """The names of those whom a filter finds."""
    body = await client.request(
        ["Principal/query", {"accountId": client.account_id, "filter": condition}, "q"],
        [
            "Principal/get",
            {
                "accountId": client.account_id,
                "#ids": {"resultOf": "q", "name": "Principal/query", "path": "/ids"},
                "properties": ["name"],
            },
            "g",
        ],
    )
    return [item["name"] for item in body["methodResponses"][1][1]["list"]]


async def test_the_session_names_the_user_and_the_owner_of_each_account(
    ada: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """Sections 1.5.1 and 1.5.2."""
    bob = await dispatcher.user("bob")
    adas_id, bobs_id = [await find_user(dispatcher.pool, name) for name in ("ada", "bob")]
    team = await add_account(dispatcher.pool, "team")
    await add_grant(dispatcher.pool, "team", "ada", "write")
    await add_grant(dispatcher.pool, bob.account_id, "ada", "read")
    session = (await ada.http.get("/jmap/session")).json()
    assert session["capabilities"][PRINCIPALS] == {}
    assert session["primaryAccounts"][PRINCIPALS] == ada.account_id
    assert OWNER not in session["capabilities"]
    capabilities = {
        key: account["accountCapabilities"] for key, account in session["accounts"].items()
    }
    assert capabilities[ada.account_id][PRINCIPALS] == {"currentUserPrincipalId": adas_id}
    home = {"accountIdForPrincipal": ada.account_id}
    assert capabilities[ada.account_id][OWNER] == {**home, "principalId": adas_id}
    assert capabilities[bob.account_id][OWNER] == {**home, "principalId": bobs_id}
    assert PRINCIPALS not in capabilities[bob.account_id]
    assert not {OWNER, PRINCIPALS} & capabilities[team].keys()


async def test_a_user_sees_itself_and_those_it_shares_an_account_with(
    ada: JmapClient, dispatcher: RunningDispatcher
) -> None:
    bob, _ = await dispatcher.user("bob"), await dispatcher.user("eve")
    before = await ada.call("Principal/get")
    [own] = before["list"]
    assert own == {
        "id": await find_user(dispatcher.pool, "ada"),
        "type": "individual",
        "name": "ada",
        "description": None,
        "email": None,
        "timeZone": None,
        "capabilities": {},
        "accounts": own["accounts"],
    }
    session = (await ada.http.get("/jmap/session")).json()
    assert own["accounts"] == session["accounts"]
    assert await ada.call("Principal/changes", sinceState=before["state"]) == {
        "accountId": ada.account_id,
        "oldState": before["state"],
        "newState": before["state"],
        "hasMoreChanges": False,
        "created": [],
        "updated": [],
        "destroyed": [],
    }
    book = await ada.address_book()
    share = {await find_user(dispatcher.pool, "bob"): {"mayRead": True}}
    await ada.call("AddressBook/set", update={book: {"shareWith": share}})
    after = await ada.call("Principal/get", properties=["name", "accounts"])
    assert {item["name"]: item["accounts"] for item in after["list"]} == {
        "ada": session["accounts"],
        "bob": None,
    }
    assert after["state"] != before["state"]
    error = await ada.error("Principal/changes", sinceState=before["state"])
    assert error["type"] == "cannotCalculateChanges"
    bob.using = ada.using
    seen = {item["name"]: item for item in (await bob.call("Principal/get"))["list"]}
    assert seen["ada"]["accounts"].keys() == {ada.account_id}
    assert seen["ada"]["accounts"][ada.account_id]["isReadOnly"]
    assert await found(bob, accountIds=[ada.account_id]) == ["ada"]


async def test_a_stranger_is_found_by_the_exact_name_alone(
    ada: JmapClient, dispatcher: RunningDispatcher
) -> None:
    for name in ("stranger", "Stranger Two"):
        await dispatcher.user(name)
    assert await found(ada) == ["ada"]
    assert await found(ada, name="strang") == []
    assert await found(ada, name="STRANGER") == []
    assert await found(ada, type="individual") == ["ada"]
    assert await found(ada, name="stranger") == ["stranger"]
    assert await found(ada, text="Stranger Two") == ["Stranger Two"]
    assert await found(ada, name="a\0") == []
    stranger = await find_user(dispatcher.pool, "stranger")
    got = await ada.call("Principal/get", ids=[stranger, "unobody", "a\0b", stranger])
    assert [item["name"] for item in got["list"]] == ["stranger"]
    assert got["list"][0]["accounts"] is None
    assert got["notFound"] == ["unobody", "a\0b"]


async def test_pages_and_totals(ada: JmapClient, dispatcher: RunningDispatcher) -> None:
    for name in ("carl", "bob"):
        await dispatcher.user(name)
        await add_grant(dispatcher.pool, ada.account_id, name, "read")
    ids = {name: await find_user(dispatcher.pool, name) for name in ("ada", "bob", "carl")}
    answer = await ada.call(
        "Principal/query", position=1, limit=1, calculateTotal=True, sort=[{"property": "name"}]
    )
    assert answer["ids"] == [ids["bob"]]
    assert (answer["total"], answer["position"]) == (3, 1)
    assert answer["canCalculateChanges"] is False
    assert "limit" not in answer
    assert "limit" in await ada.call("Principal/query")
    got = await ada.call("Principal/get")
    assert answer["queryState"] == got["state"]
    error = await ada.error("Principal/queryChanges", sinceQueryState=answer["queryState"])
    assert error["type"] == "cannotCalculateChanges"
    error = await ada.error("Principal/get", properties=["shoeSize"])
    assert error["type"] == "invalidArguments"


async def test_principals_cannot_be_changed(ada: JmapClient, dispatcher: RunningDispatcher) -> None:
    """Section 2.3."""
    own = str(await find_user(dispatcher.pool, "ada"))
    answer = await ada.call(
        "Principal/set", create={"k": {"name": "x"}}, update={own: {"name": "x"}}, destroy=[own]
    )
    assert answer["notCreated"]["k"]["type"] == "forbidden"
    assert answer["notUpdated"][own]["type"] == "forbidden"
    assert answer["notDestroyed"][own]["type"] == "forbidden"
    assert answer["oldState"] == answer["newState"]
    error = await ada.error("Principal/set", ifInState="old")
    assert error["type"] == "stateMismatch"


async def test_there_are_no_share_notifications(ada: JmapClient) -> None:
    """Section 3: the methods are there; that the server makes any is a SHOULD."""
    got = await ada.call("ShareNotification/get", ids=["n1"])
    assert (got["list"], got["notFound"]) == ([], ["n1"])
    changes = await ada.call("ShareNotification/changes", sinceState=got["state"])
    assert (changes["created"], changes["newState"]) == ([], got["state"])
    done = await ada.call(
        "ShareNotification/set", create={"k": {}}, update={"n1": {}}, destroy=["n1"]
    )
    assert done["notCreated"]["k"]["type"] == "forbidden"
    assert done["notUpdated"]["n1"]["type"] == "forbidden"
    assert done["notDestroyed"]["n1"]["type"] == "notFound"
    query = await ada.call("ShareNotification/query", calculateTotal=True)
    assert (query["ids"], query["total"]) == ([], 0)
    later = await ada.call(
        "ShareNotification/queryChanges",
        sinceQueryState=query["queryState"],
        calculateTotal=True,
    )
    assert (later["added"], later["removed"], later["total"]) == ([], [], 0)
    for name, wrong, kind in (
        ("changes", {"sinceState": "x"}, "cannotCalculateChanges"),
        ("queryChanges", {"sinceQueryState": "x"}, "cannotCalculateChanges"),
        ("set", {"ifInState": "x"}, "stateMismatch"),
        ("query", {"anchor": "n1"}, "anchorNotFound"),
    ):
        error = await ada.error(f"ShareNotification/{name}", **wrong)
        assert error["type"] == kind


async def test_principals_are_in_the_own_account_and_need_their_capability(
    ada: JmapClient, dispatcher: RunningDispatcher
) -> None:
    team = await add_account(dispatcher.pool, "team")
    await add_grant(dispatcher.pool, "team", "ada", "owner")
    for name in ("Principal/get", "ShareNotification/get"):
        error = await ada.error(name, accountId=team)
        assert error["type"] == "accountNotSupportedByMethod"
        error = await ada.error(name, accountId="anone")
        assert error["type"] == "accountNotFound"
    ada.using = list(USING)
    assert (await ada.error("Principal/get"))["type"] == "unknownMethod"
