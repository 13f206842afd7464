"""What one PushSubscription/set may touch, and how its records fare (RFC 8620 section 7.2)."""

import pytest

from shared.store.credentials import issue_token
from shared.web_push.endpoint_secrets import Endpoint
from tests.support.dispatcher import JmapClient, RunningDispatcher
from tests.support.push_subscriptions import (
    URL,
    endpoint_of,
    push_get,
    push_set,
    shown,
    subscribe,
    update_error,
)

pytestmark = pytest.mark.integration


async def test_other_credentials_neither_see_nor_change_it(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-20, P-30: not even another one of the same user."""
    created = await subscribe(client)
    _, token = await issue_token(dispatcher.pool, "ada")
    other = JmapClient(client.url, token, client.account_id)
    dispatcher.clients.append(other)

    assert await push_get(other) == {"list": [], "notFound": []}
    assert (await push_get(other, ids=[created["id"]]))["notFound"] == [created["id"]]
    answer = await push_set(other, destroy=[created["id"]])
    assert answer["notDestroyed"][created["id"]]["type"] == "notFound"
    assert (await update_error(other, created["id"], types=[]))["type"] == "notFound"
    assert (await shown(client, created["id"]))["types"] is None


async def test_a_destroyed_one_leaves_no_row_anywhere(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-24."""
    created = await subscribe(client)
    await dispatcher.pool.execute(
        """
        INSERT INTO delivery_attempts (subscription_id, place, at, kind, outcome, milliseconds,
            cursor) VALUES ($1, 0, now(), 'push', 'ok', 1, 1)
        """,
        created["id"],
    )
    answer = await push_set(client, destroy=[created["id"], "nope"])

    assert answer["destroyed"] == [created["id"]]
    assert answer["notDestroyed"]["nope"]["type"] == "notFound"
    for table in ("push_subscriptions", "push_subscription_keys", "lanes", "delivery_attempts"):
        assert await dispatcher.pool.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert (await push_get(client))["list"] == []


async def test_each_record_of_a_set_stands_or_falls_alone(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    good = {"deviceClientId": "d", "url": URL}
    old = await subscribe(client)
    doomed = await subscribe(client)
    answer = await push_set(
        client,
        create={"a": good, "b": {**good, "url": "http://x"}, "bad id!": good},
        update={
            old["id"]: {"types": []},
            doomed["id"]: {"types": []},
            "#a": {"types": ["Email"]},
            "#b": {"types": []},
        },
        destroy=[doomed["id"], doomed["id"]],
    )

    made = answer["created"]["a"]["id"]
    assert answer["notCreated"].keys() == {"b", "bad id!"}
    assert answer["updated"] == {old["id"]: None, made: None}
    assert {key: error["type"] for key, error in answer["notUpdated"].items()} == {
        doomed["id"]: "willDestroy",
        "#b": "notFound",
    }
    assert answer["destroyed"] == [doomed["id"]]
    assert (await shown(client, made))["types"] == ["Email"]
    assert len(dispatcher.told) == 4


async def test_later_calls_of_a_request_name_it_by_its_creation_id(client: JmapClient) -> None:
    given = {"deviceClientId": "d", "url": URL}
    body = await client.request(
        ["PushSubscription/set", {"create": {"k": given}}, "0"],
        ["PushSubscription/get", {"ids": ["#k"]}, "1"],
        ["PushSubscription/set", {"destroy": ["#k"]}, "2"],
        created_ids={},
    )

    created, got, destroyed = (answer[1] for answer in body["methodResponses"])
    made = created["created"]["k"]["id"]
    assert [item["id"] for item in got["list"]] == [made]
    assert destroyed["destroyed"] == [made]
    assert body["createdIds"] == {"k": made}


async def test_what_cannot_be_read_any_more_can_still_be_destroyed(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    created = await subscribe(client)
    await dispatcher.pool.execute("UPDATE push_subscriptions SET sealed = 'damaged'")

    assert (await shown(client, created["id"]))["verificationCode"] is None
    error = await update_error(client, created["id"], verificationCode="guess")
    assert error["type"] == "invalidProperties"
    answer = await push_set(client, destroy=[created["id"]])
    assert answer["destroyed"] == [created["id"]]


async def test_the_url_is_kept_as_it_was_given(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-12: a push service may tell addresses apart that look alike."""
    url = "https://Push.Example.com/A%2fb?Q=1"
    created = await subscribe(client, url=url)

    endpoint = await endpoint_of(dispatcher.pool, created["id"])
    assert endpoint == Endpoint(url=url, code=endpoint.code)
