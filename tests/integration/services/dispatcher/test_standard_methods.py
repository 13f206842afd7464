"""The standard methods over HTTP, line by line of the checklist (RFC 8620 section 5)."""

import json
from datetime import timedelta
from typing import Any

import pytest

from shared.jmap.session import CoreLimits
from shared.store.people import add_account
from shared.store.records import trim_history
from tests.support.dispatcher import JmapClient, RunningDispatcher, running_dispatcher

pytestmark = pytest.mark.integration

BOOK = "AddressBook"


async def test_ids_are_made_as_recommended(client: JmapClient) -> None:
    """C-01."""
    book = await client.address_book()
    assert book[0] == "b"
    assert book.isalnum()
    assert book == book.lower()
    assert len(book) <= 255


async def test_numbers_and_dates_are_held_to_their_types(client: JmapClient) -> None:
    """C-02, C-03."""
    for order in (-1, 2**31, 1.5, "1", True, None):
        answer = await client.call(f"{BOOK}/set", create={"k": {"name": "x", "sortOrder": order}})
        assert answer["notCreated"]["k"]["properties"] == ["sortOrder"]
    book = {"addressBookIds": {await client.address_book(): True}}
    for date in ("2020-01-01", "2020-01-01t00:00:00Z", "2020-01-01T00:00:00.0Z", 5):
        answer = await client.call("ContactCard/set", create={"k": {**book, "created": date}})
        assert answer["notCreated"]["k"]["properties"] == ["created"]


async def test_get_answers_as_asked(client: JmapClient) -> None:
    """C-30: id always, each id once, unknown properties refused, empty ids give an empty list."""
    card = await client.add_card(name={"full": "A"}, kind="org")
    got = await client.call("ContactCard/get", ids=[card, card], properties=["kind"])
    assert got["list"] == [{"id": card, "kind": "org"}]
    assert (await client.call("ContactCard/get", ids=[]))["list"] == []
    everything = await client.call("ContactCard/get", ids=None)
    assert [item["id"] for item in everything["list"]] == [card]
    error = await client.error("ContactCard/get", ids=None, properties=["nope"])
    assert error["type"] == "invalidArguments"
    again = await client.call("ContactCard/get", ids=[])
    assert again["state"] == everything["state"]


async def test_limits_on_objects_are_enforced(postgres_dsn: str) -> None:
    """C-10, C-30, C-32: requestTooLarge."""
    limits = CoreLimits(max_objects_in_get=2, max_objects_in_set=2)
    async with running_dispatcher(postgres_dsn, limits=limits) as dispatcher:
        client = await dispatcher.user("ada")
        session = (await client.http.get("/jmap/session")).json()
        core = session["capabilities"]["urn:ietf:params:jmap:core"]
        assert (core["maxObjectsInGet"], core["maxObjectsInSet"]) == (2, 2)
        error = await client.error(f"{BOOK}/get", ids=["a", "b", "c"])
        assert error["type"] == "requestTooLarge"
        error = await client.error(f"{BOOK}/set", create={"k": {"name": "x"}}, destroy=["a", "b"])
        assert error["type"] == "requestTooLarge"
        creates = {key: {"name": key} for key in ("x", "y")}
        await client.call(f"{BOOK}/set", create=creates)
        error = await client.error(f"{BOOK}/get", ids=None)
        assert error["type"] == "requestTooLarge"
        await client.http.aclose()


@pytest.mark.parametrize("max_changes", [0, -1, "1", 1.5])
async def test_max_changes_must_be_positive(client: JmapClient, max_changes: Any) -> None:
    """C-31."""
    error = await client.error(f"{BOOK}/changes", sinceState="s0", maxChanges=max_changes)
    assert error["type"] == "invalidArguments"


@pytest.mark.parametrize("since", ["s99", "nope", "", "s-1"])
async def test_an_unknown_state_cannot_be_followed(client: JmapClient, since: str) -> None:
    """C-31."""
    error = await client.error(f"{BOOK}/changes", sinceState=since)
    assert error["type"] == "cannotCalculateChanges"


async def test_history_is_kept_and_then_trimmed(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """C-31: changes answers while the history is there, and says so when it is not."""
    card = await client.add_card()
    since = (await client.call("ContactCard/get", ids=[]))["state"]
    await client.call("ContactCard/set", destroy=[card])
    kept = await trim_history(dispatcher.pool, older_than=timedelta(days=30), records_max=100)
    assert kept == 0
    changes = await client.call("ContactCard/changes", sinceState=since)
    assert changes["destroyed"] == [card]
    assert await trim_history(dispatcher.pool, older_than=timedelta(0), records_max=100) == 1
    error = await client.error("ContactCard/changes", sinceState=since)
    assert error["type"] == "cannotCalculateChanges"
    error = await client.error("ContactCard/queryChanges", sinceQueryState=since)
    assert error["type"] == "cannotCalculateChanges"
    changes = await client.call("ContactCard/changes", sinceState=changes["newState"])
    assert not changes["hasMoreChanges"]


async def test_set_in_another_state_does_nothing(client: JmapClient) -> None:
    """C-32."""
    error = await client.error(f"{BOOK}/set", ifInState="s7", create={"k": {"name": "x"}})
    assert error["type"] == "stateMismatch"
    assert len((await client.call(f"{BOOK}/get"))["list"]) == 1


async def test_a_patch_that_breaks_the_rules_is_invalid(client: JmapClient) -> None:
    """C-32: invalidPatch; null sets the default, or removes."""
    card = await client.add_card(name={"components": [{"kind": "given", "value": "A"}]}, kind="org")
    for patch in (
        {"name/components/0/value": "B"},
        {"nope/x": 1},
        {"name": {}, "name/full": "B"},
    ):
        answer = await client.call("ContactCard/set", update={card: patch})
        assert answer["notUpdated"][card]["type"] == "invalidPatch"
        assert answer["newState"] == answer["oldState"]
    await client.call("ContactCard/set", update={card: {"kind": None, "version": None}})
    [shown] = (await client.call("ContactCard/get", ids=[card]))["list"]
    assert "kind" not in shown
    assert shown["version"] == "1.0"


async def test_server_set_properties_may_be_sent_back_unchanged(client: JmapClient) -> None:
    """C-32."""
    [book] = (await client.call(f"{BOOK}/get"))["list"]
    answer = await client.call(f"{BOOK}/set", update={book["id"]: book})
    assert answer["updated"] == {book["id"]: None}
    assert answer["newState"] == answer["oldState"]
    for change in ({"isDefault": False}, {"id": "bother"}, {"myRights": None}):
        answer = await client.call(f"{BOOK}/set", update={book["id"]: change})
        assert answer["notUpdated"][book["id"]]["properties"] == list(change)


async def test_all_wrong_properties_are_listed(client: JmapClient) -> None:
    """C-32."""
    create = {"name": 7, "sortOrder": -1, "nope": 1}
    answer = await client.call(f"{BOOK}/set", create={"k": create})
    assert answer["notCreated"]["k"]["properties"] == ["nope"]
    del create["nope"]
    answer = await client.call(f"{BOOK}/set", create={"k": create})
    assert answer["notCreated"]["k"]["properties"] == ["name", "sortOrder"]
    answer = await client.call(f"{BOOK}/set", create={"k": {"name": "é" * 128}})
    assert answer["notCreated"]["k"]["properties"] == ["name"]


async def test_a_record_that_will_be_destroyed_is_not_updated(client: JmapClient) -> None:
    """C-32; and what is null where nothing happened."""
    card = await client.add_card()
    answer = await client.call("ContactCard/set", update={card: {"kind": "org"}}, destroy=[card])
    assert answer["notUpdated"][card]["type"] == "willDestroy"
    assert answer["destroyed"] == [card]
    for name in ("created", "updated", "notCreated", "notDestroyed"):
        assert answer[name] is None


async def test_a_record_too_large_is_refused(client: JmapClient) -> None:
    """C-32."""
    book = await client.address_book()
    card = {"addressBookIds": {book: True}, "example.com:x": "x" * 1_000_001}
    answer = await client.call("ContactCard/set", create={"k": card})
    assert answer["notCreated"]["k"]["type"] == "tooLarge"


async def test_odd_values_come_back_as_they_went_in(client: JmapClient) -> None:
    """C-04: what I-JSON allows is kept."""
    odd = {"n": [1e300, -0.0, 1.0, 5e-324, 2**53 - 1], "z": "\0\u2028\ufffe", "": None}
    card = await client.add_card(**{"example.com:odd": odd})
    [shown] = (await client.call("ContactCard/get", ids=[card]))["list"]
    assert shown["example.com:odd"] == odd


async def test_a_nul_is_a_character_like_any_other(client: JmapClient) -> None:
    """C-04: PostgreSQL's text refuses it, a client must not notice."""
    nul = "a\0b"
    name = {"full": nul, "components": [{"kind": "given", "value": nul}]}
    card = await client.add_card(name=name, uid=nul, nicknames={"n": {"name": nul}})
    [shown] = (await client.call("ContactCard/get", ids=[card, nul]))["list"]
    assert (shown["name"], shown["uid"]) == (name, nul)
    for condition in ({"uid": nul}, {"name": nul}, {"nickname": f"'{nul}'"}, {"text": nul}):
        assert (await client.call("ContactCard/query", filter=condition))["ids"] == [card]
    answer = await client.call("ContactCard/set", update={nul: {}}, destroy=[nul])
    assert answer["notDestroyed"][nul]["type"] == "notFound"
    assert (await client.error("ContactCard/query", anchor=nul))["type"] == "anchorNotFound"
    path = f"/jmap/download/{client.account_id}/a%00b/name%00"
    assert (await client.http.get(path)).status_code == 404
    client.using = ("urn:ietf:params:jmap:core", "urn:ietf:params:jmap:blob")
    assert (await client.call("Blob/get", ids=[nul]))["notFound"] == [nul]
    wrong = {"k": {"data": [{"data:asText": nul}], "type": nul}}
    assert (await client.call("Blob/upload", create=wrong))["notCreated"]["k"]


async def test_a_reused_creation_id_means_the_latest(client: JmapClient) -> None:
    """C-23, C-36."""
    arguments = {"accountId": client.account_id, "create": {"k": {"name": "x"}}}
    body = await client.request(
        [f"{BOOK}/set", arguments, "0"],
        [f"{BOOK}/set", arguments, "1"],
        [f"{BOOK}/set", {"accountId": client.account_id, "destroy": ["#k"]}, "2"],
        created_ids={},
    )
    answers = [answer[1] for answer in body["methodResponses"]]
    last = answers[1]["created"]["k"]["id"]
    assert answers[2]["destroyed"] == [last]
    assert body["createdIds"] == {"k": last}


async def test_copies_go_to_another_account(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """C-33."""
    team = await add_account(dispatcher.pool, "team")
    await dispatcher.grant(team, "ada", "write")
    other = await dispatcher.user("grace")
    await other.http.aclose()
    client = JmapClient(client.url, client.token, client.account_id)
    book = next(iter((await client.call(f"{BOOK}/get", accountId=team))["list"]))["id"]
    card = await client.add_card(name={"full": "Ada"}, uid="urn:uuid:1", kind="org")
    copy = {"id": card, "addressBookIds": {book: True}, "kind": "group"}
    request = {"fromAccountId": client.account_id, "accountId": team}
    answer = await client.call("ContactCard/copy", **request, create={"k": copy})
    made = answer["created"]["k"]["id"]
    [shown] = (await client.call("ContactCard/get", accountId=team, ids=[made]))["list"]
    assert (shown["kind"], shown["uid"], shown["name"]) == (
        "group",
        copy["id"] and "urn:uuid:1",
        {"full": "Ada"},
    )
    again = await client.call(
        "ContactCard/copy", **request, create={"k": copy, "n": {**copy, "id": "cnone"}}
    )
    assert again["notCreated"]["k"] == {"type": "alreadyExists", "existingId": made}
    assert again["notCreated"]["n"]["type"] == "notFound"
    for wrong, kind in (
        ({"fromAccountId": "anone"}, "fromAccountNotFound"),
        ({"fromAccountId": team}, "invalidArguments"),
        ({"ifInState": "s99"}, "stateMismatch"),
        ({"ifFromInState": "s99"}, "stateMismatch"),
        ({"accountId": "anone"}, "accountNotFound"),
    ):
        error = await client.error("ContactCard/copy", **{**request, **wrong}, create={"k": copy})
        assert error["type"] == kind
    await client.call("ContactCard/set", accountId=team, destroy=[made])
    body = await client.request(
        [
            "ContactCard/copy",
            {**request, "create": {"k": copy}, "onSuccessDestroyOriginal": True},
            "0",
        ]
    )
    names = [(answer[0], answer[2]) for answer in body["methodResponses"]]
    assert names == [("ContactCard/copy", "0"), ("ContactCard/set", "0")]
    assert body["methodResponses"][1][1]["destroyed"] == [card]
    await client.http.aclose()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"filter": {"nope": "x"}}, "unsupportedFilter"),
        ({"filter": {"name": 7}}, "invalidArguments"),
        ({"filter": {"createdBefore": "yesterday"}}, "invalidArguments"),
        ({"filter": {"operator": "XOR", "conditions": []}}, "invalidArguments"),
        ({"filter": {"operator": "AND"}}, "invalidArguments"),
        ({"filter": {"operator": "AND", "conditions": [], "name": "x"}}, "invalidArguments"),
        ({"filter": {"operator": "AND", "conditions": [7]}}, "invalidArguments"),
        ({"filter": {"operator": "OR", "conditions": [{"name": "x"}] * 101}}, "unsupportedFilter"),
        ({"sort": [{"property": "nope"}]}, "unsupportedSort"),
        ({"sort": [{"property": "name/given", "collation": "i;x"}]}, "unsupportedSort"),
        ({"sort": [{"property": "created"}] * 11}, "unsupportedSort"),
        ({"sort": [{}]}, "invalidArguments"),
        ({"limit": -1}, "invalidArguments"),
        ({"position": 1.5}, "invalidArguments"),
        ({"anchor": "cnone"}, "anchorNotFound"),
        ({"nope": 1}, "invalidArguments"),
    ],
)
async def test_a_query_that_cannot_be_is_refused(
    client: JmapClient, arguments: dict[str, Any], kind: str
) -> None:
    """C-34."""
    error = await client.error("ContactCard/query", **arguments)
    assert error["type"] == kind


async def test_a_query_tells_total_and_limit_only_when_it_should(client: JmapClient) -> None:
    """C-34."""
    card = await client.add_card()
    answer = await client.call("ContactCard/query", limit=10)
    assert answer["ids"] == [card]
    assert not {"total", "limit"} & set(answer)
    answer = await client.call("ContactCard/query", limit=10**9, calculateTotal=True)
    assert (answer["limit"], answer["total"]) == (5000, 1)
    answer = await client.call("ContactCard/query", position=10**12)
    assert answer["ids"] == []


async def test_too_many_query_changes_are_told(client: JmapClient) -> None:
    """C-35."""
    state = (await client.call("ContactCard/query"))["queryState"]
    for _ in range(3):
        await client.add_card()
    error = await client.error("ContactCard/queryChanges", sinceQueryState=state, maxChanges=2)
    assert error["type"] == "tooManyChanges"
    error = await client.error("ContactCard/queryChanges", sinceQueryState="s99")
    assert error["type"] == "cannotCalculateChanges"
    answer = await client.call("ContactCard/queryChanges", sinceQueryState=state, maxChanges=3)
    assert [item["index"] for item in answer["added"]] == [0, 1, 2]


async def test_records_that_are_too_large_together_are_got_one_after_the_other(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """C-30, C-32: 12 of 0.9 MB would be 10.8 MB in one answer."""
    ids = [await client.add_card(name={"full": f"Ada {index}"}) for index in range(12)]
    await dispatcher.pool.execute(
        "UPDATE records SET data = (data::jsonb || $1::jsonb)::json WHERE type = $2",
        json.dumps({"notes": {"n": {"note": "x" * 900_000}}}).encode(),
        "ContactCard",
    )
    some = await client.call("ContactCard/get", ids=ids[:10])
    assert {card["id"] for card in some["list"]} == set(ids[:10])
    for wanted in (ids, None):
        error = await client.error("ContactCard/get", ids=wanted)
        assert error["type"] == "requestTooLarge"
    patch = {card_id: {"prodId": "x"} for card_id in ids}
    error = await client.error("ContactCard/set", ifInState=some["state"], update=patch)
    assert error["type"] == "requestTooLarge"
    assert (await client.call("ContactCard/get", ids=[]))["state"] == some["state"]
