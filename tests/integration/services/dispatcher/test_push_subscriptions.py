"""PushSubscription/get and /set over HTTP (RFC 8620 section 7.2)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.dispatcher.settings import PushRules
from shared.jmap.ids import moment_of, utc_date
from tests.support.dispatcher import JmapClient, RunningDispatcher, running_dispatcher
from tests.support.push_subscriptions import (
    URL,
    browser_keys,
    endpoint_of,
    push_error,
    push_get,
    push_set,
    refusal,
    shown,
    subscribe,
    update,
    update_error,
)

pytestmark = pytest.mark.integration


def days(count: float) -> str:
    return utc_date(datetime.now(UTC) + timedelta(days=count))


def assert_in_days(date: str, count: float) -> None:
    assert abs(moment_of(date) - datetime.now(UTC) - timedelta(days=count)).total_seconds() < 30


async def test_a_created_one_is_echoed_with_all_that_the_server_set(client: JmapClient) -> None:
    """P-10, P-39."""
    created = await subscribe(client)

    assert created.keys() == {"id", "keys", "verificationCode", "expires", "types"}
    assert created["keys"] is created["types"] is created["verificationCode"] is None
    full = await subscribe(client, keys=browser_keys(), types=["Email"], expires=days(3))
    assert full.keys() == {"id", "verificationCode"}


async def test_get_shows_what_the_client_set_but_never_url_and_keys(client: JmapClient) -> None:
    """P-30, P-31: nothing of accounts and states either."""
    expires = days(3)
    created = await subscribe(client, keys=browser_keys(), types=["Email"], expires=expires)

    assert await push_get(client, ids=None) == {
        "list": [
            {
                "id": created["id"],
                "deviceClientId": "device",
                "verificationCode": None,
                "expires": expires,
                "types": ["Email"],
            }
        ],
        "notFound": [],
    }
    chosen = await push_get(client, ids=[created["id"], "nope"], properties=["types"])
    assert chosen["list"] == [{"id": created["id"], "types": ["Email"]}]
    assert chosen["notFound"] == ["nope"]


@pytest.mark.parametrize("name", ["url", "keys"])
async def test_whoever_asks_for_url_or_keys_is_refused(client: JmapClient, name: str) -> None:
    """P-31."""
    error = await push_error(client, "get", ids=None, properties=["id", name])

    assert error["type"] == "forbidden"


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("get", {"accountId": "a1"}),
        ("get", {"properties": ["colour"]}),
        ("set", {"accountId": "a1"}),
        ("set", {"ifInState": "s1"}),
        ("set", {"create": []}),
    ],
)
async def test_arguments_of_other_methods_are_refused(
    client: JmapClient, method: str, arguments: dict[str, Any]
) -> None:
    """P-30, P-32."""
    assert (await push_error(client, method, **arguments))["type"] == "invalidArguments"


async def test_set_answers_without_account_and_states(client: JmapClient) -> None:
    """P-32."""
    answer = await push_set(client, create={"k": {"deviceClientId": "d", "url": URL}})

    parts = {"created", "updated", "destroyed", "notCreated", "notUpdated", "notDestroyed"}
    assert answer.keys() == parts
    assert [name for name in parts if answer[name] is not None] == ["created"]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"deviceClientId": None}, ["deviceClientId"]),
        ({"deviceClientId": ""}, ["deviceClientId"]),
        ({"url": "http://push.example.com/abc"}, ["url"]),
        ({"url": "push.example.com/abc"}, ["url"]),
        ({"url": None, "types": "Email"}, ["types", "url"]),
        ({"keys": {"p256dh": "AAAA", "auth": "AAAA"}}, ["keys"]),
        ({"keys": {"auth": "AAAA"}}, ["keys"]),
        ({"keys": "AAAA"}, ["keys"]),
        ({"verificationCode": "guess"}, ["verificationCode"]),
        ({"verificationCode": 1}, ["verificationCode"]),
        ({"expires": "2020-01-01T00:00:00Z"}, ["expires"]),
        ({"expires": "tomorrow"}, ["expires"]),
        ({"types": ["no name"]}, ["types"]),
        ({"types": ["T"] * 257}, ["types"]),
        ({"id": "mine"}, ["id"]),
        ({"colour": "blue"}, ["colour"]),
    ],
)
async def test_a_create_names_what_is_wrong_with_it(
    client: JmapClient, given: dict[str, Any], wrong: list[str]
) -> None:
    """P-10 to P-15."""
    error = await refusal(client, **given)

    assert (error["type"], error["properties"]) == ("invalidProperties", wrong)


async def test_a_url_that_leads_inside_is_refused_at_once(postgres_dsn: str) -> None:
    """P-12, P-40."""
    async with running_dispatcher(postgres_dsn, push=PushRules()) as dispatcher:
        client = await dispatcher.user("ada")
        for url in (
            "https://10.0.0.1/push",
            "https://127.0.0.1/push",
            "https://[::1]/push",
            "https://169.254.169.254/latest",
            "https://localhost/push",
            "https://push.example.com:22/",
            "https://user@push.example.com/",
        ):
            error = await refusal(client, url=url)
            assert (error["type"], error["properties"]) == ("invalidProperties", ["url"])
            assert url not in error["description"]


@pytest.mark.parametrize("padding", ["", "="])
async def test_keys_are_taken_with_padding_and_without(
    client: JmapClient, dispatcher: RunningDispatcher, padding: str
) -> None:
    """P-13."""
    keys = browser_keys()
    created = await subscribe(
        client, keys={"p256dh": keys["p256dh"] + padding, "auth": keys["auth"] + padding * 2}
    )

    endpoint = await endpoint_of(dispatcher.pool, created["id"])
    assert endpoint.p256dh is not None
    assert endpoint.auth is not None
    assert (len(endpoint.p256dh), len(endpoint.auth)) == (65, 16)


async def test_without_a_date_it_expires_in_a_week(client: JmapClient) -> None:
    """P-15, P-22."""
    created = await subscribe(client)

    assert_in_days(created["expires"], 7)


async def test_it_expires_when_the_client_says_and_in_30_days_at_most(client: JmapClient) -> None:
    """P-22, P-37: also sooner than the 48 hours that the server must grant."""
    soon = days(0.01)
    created = await subscribe(client, expires=soon)
    assert "expires" not in created
    assert (await shown(client, created["id"]))["expires"] == soon

    far = await update(client, created["id"], expires=days(365))
    assert far is not None
    assert_in_days(far["expires"], 30)
    later = days(20)
    assert await update(client, created["id"], expires=later) is None
    assert (await shown(client, created["id"]))["expires"] == later
    default = await update(client, created["id"], expires=None)
    assert default is not None
    assert_in_days(default["expires"], 7)


async def test_a_date_in_the_past_is_refused(client: JmapClient) -> None:
    """P-15."""
    created = await subscribe(client)
    error = await update_error(client, created["id"], expires=days(-1))

    assert (error["type"], error["properties"]) == ("invalidProperties", ["expires"])


async def test_types_may_be_all_some_or_none(client: JmapClient) -> None:
    """P-16: an empty list is a subscription to nothing, not to everything."""
    created = await subscribe(client, types=[])
    assert (await shown(client, created["id"]))["types"] == []
    await update(client, created["id"], types=["Email", "example.com:Thing"])
    assert (await shown(client, created["id"]))["types"] == ["Email", "example.com:Thing"]
    await update(client, created["id"], types=None)
    assert (await shown(client, created["id"]))["types"] is None
    error = await update_error(client, created["id"], **{"types/0": "Email"})
    assert error["type"] == "invalidPatch"


@pytest.mark.parametrize(
    ("patch", "wrong"),
    [
        ({"url": URL}, "url"),
        ({"url": None}, "url"),
        ({"keys": None}, "keys"),
        ({"keys/auth": "AAAA"}, "keys"),
        ({"deviceClientId": "other"}, "deviceClientId"),
        ({"deviceClientId": None}, "deviceClientId"),
        ({"id": "other"}, "id"),
        ({"colour": "blue"}, "colour"),
        ({"types": "Email"}, "types"),
    ],
)
async def test_what_is_immutable_cannot_be_updated(
    client: JmapClient, patch: dict[str, Any], wrong: str
) -> None:
    """P-10 to P-13, P-33."""
    created = await subscribe(client)
    error = await update_error(client, created["id"], **patch)

    assert (error["type"], error["properties"]) == ("invalidProperties", [wrong])


async def test_only_the_code_that_was_pushed_verifies(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-14, P-36."""
    created = await subscribe(client)
    code = (await endpoint_of(dispatcher.pool, created["id"])).code
    for wrong in ("", "guess", code[:-1], code + "x", 5):
        error = await update_error(client, created["id"], verificationCode=wrong, types=["Email"])
        assert (error["type"], error["properties"]) == ("invalidProperties", ["verificationCode"])
    subscription = await shown(client, created["id"])
    assert (subscription["verificationCode"], subscription["types"]) == (None, None)
    assert await update(client, created["id"], verificationCode=None) is None
    assert await dispatcher.pool.fetchval("SELECT verified_at FROM push_subscriptions") is None

    assert await update(client, created["id"], verificationCode=code) is None

    assert (await shown(client, created["id"]))["verificationCode"] == code
    assert await dispatcher.pool.fetchval("SELECT is_open FROM lanes")
    for later in ("guess", None):
        error = await update_error(client, created["id"], verificationCode=later)
        assert error["type"] == "invalidProperties"
    assert await update(client, created["id"], verificationCode=code, types=["Email"]) is None


async def test_codes_are_long_and_no_two_are_the_same(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-34, P-40."""
    ids = [(await subscribe(client))["id"] for _ in range(20)]
    codes = {(await endpoint_of(dispatcher.pool, item)).code for item in ids}

    assert len(codes) == 20
    assert min(len(code) for code in codes) == 32  # base64url of 192 random bits


async def test_the_deliverer_is_told_when_there_is_something_to_do(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-34: a new one has to be verified at once; P-24: and the secrets of an old one to go."""
    created = await subscribe(client)
    assert [message.webhooks_due for message in dispatcher.told] == [True]
    await update(client, created["id"], types=["Email"])
    assert len(dispatcher.told) == 1
    code = (await endpoint_of(dispatcher.pool, created["id"])).code
    await update(client, created["id"], verificationCode=code)
    assert [message.webhooks_due for message in dispatcher.told] == [True, True]
    await push_set(client, destroy=[created["id"]])
    assert dispatcher.told[2].subscriptions_ended == [created["id"]]


async def test_a_device_finds_its_own_by_the_id_it_gave(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """P-11, P-38: several devices may share a credential."""
    first = await subscribe(client, deviceClientId="phone")
    second = await subscribe(client, deviceClientId="tablet")

    found = {item["deviceClientId"]: item["id"] for item in (await push_get(client))["list"]}
    assert found == {"phone": first["id"], "tablet": second["id"]}
    rows = await dispatcher.pool.fetch("SELECT device_client_id FROM push_subscriptions")
    assert len(rows) == 2
