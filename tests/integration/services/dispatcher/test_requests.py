"""What is wrong with a request gets a clear answer, and changes nothing (RFC 8620 section 3.6)."""

import json
from typing import Any

import httpx
import pytest

from shared.bus.control import ControlMessage
from shared.jmap.session import CORE
from shared.store.credentials import issue_token, revoke_token
from shared.store.people import add_account, add_grant, add_user, remove_grant
from tests.support.dispatcher import JmapClient, RunningDispatcher

pytestmark = pytest.mark.integration

ECHO = {"using": [CORE], "methodCalls": [["Core/echo", {"hello": True, "high": 5}, "b3ff"]]}


async def test_core_echo_returns_its_arguments(client: JmapClient) -> None:
    """C-2b, C-20, C-24."""
    response = await client.post(ECHO)
    assert response.headers["content-type"] == "application/json"
    session = (await client.http.get("/jmap/session")).json()
    assert response.json() == {
        "methodResponses": ECHO["methodCalls"],
        "sessionState": session["state"],
    }


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "notJSON"),
        (b'{"using":[],"using":[]}', "notJSON"),
        (b'"\\ud800"', "notJSON"),
        (b"\xff", "notJSON"),
        (b"[" * 5000, "notJSON"),
        (b"[]", "notRequest"),
        (b'{"using":[]}', "notRequest"),
        (b'{"using":["urn:x"],"methodCalls":[]}', "unknownCapability"),
    ],
)
async def test_a_bad_body_is_told_apart(client: JmapClient, body: bytes, kind: str) -> None:
    """C-04, C-26."""
    headers = {"Content-Type": "application/json"}
    response = await client.http.post("/jmap/api", content=body, headers=headers)
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == f"urn:ietf:params:jmap:error:{kind}"
    assert response.json()["status"] == 400


@pytest.mark.parametrize("content_type", ["text/plain", "", "application/json; charset=latin-1"])
async def test_another_content_type_is_not_json(client: JmapClient, content_type: str) -> None:
    """C-26."""
    response = await client.http.post(
        "/jmap/api", content=json.dumps(ECHO), headers={"Content-Type": content_type}
    )
    assert response.status_code == 415
    assert response.json()["type"].endswith(":notJSON")


async def test_an_oversize_body_names_the_limit(client: JmapClient) -> None:
    """C-26."""
    response = await client.http.post(
        "/jmap/api",
        content=b" " * 10_000_001,
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 413
    assert response.json()["limit"] == "maxSizeRequest"


async def test_too_many_calls_name_the_limit(client: JmapClient) -> None:
    """C-26."""
    calls = [["Core/echo", {}, str(number)] for number in range(17)]
    response = await client.post({"using": [CORE], "methodCalls": calls})
    assert response.status_code == 400
    assert response.json()["limit"] == "maxCallsInRequest"


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (["Nope/get", {}], "unknownMethod"),
        (["AddressBook/get", {}], "invalidArguments"),
        (["AddressBook/get", {"accountId": "anone"}], "accountNotFound"),
        (["AddressBook/get", {"accountId": 7}], "invalidArguments"),
        (["AddressBook/get", {"accountId": "a", "more": 1}], "invalidArguments"),
        (["AddressBook/changes", {"accountId": "a"}], "invalidArguments"),
    ],
)
async def test_a_failing_call_does_not_stop_the_next(
    client: JmapClient, call: list[Any], kind: str
) -> None:
    """C-21, C-27, C-2a."""
    body = await client.request([*call, "bad"], ["Core/echo", {}, "good"])
    first, second = body["methodResponses"]
    assert (first[0], first[1]["type"], first[2]) == ("error", kind, "bad")
    assert second == ["Core/echo", {}, "good"]


async def test_methods_of_a_capability_that_is_not_used_do_not_exist(client: JmapClient) -> None:
    """C-07; and an empty `using` is a request like any other."""
    for using in ([], [CORE]):
        call = ["AddressBook/get", {"accountId": client.account_id}, "0"]
        body = (await client.post({"using": using, "methodCalls": [call]})).json()
        assert body["methodResponses"] == [["error", {"type": "unknownMethod"}, "0"]]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer nope", "Basic !!!", "Basic bm9jb2xvbg==", "Digest x"]
)
async def test_who_has_no_token_gets_a_401(dispatcher: RunningDispatcher, header: str) -> None:
    """C-06."""
    async with httpx.AsyncClient(base_url=dispatcher.url, trust_env=False) as anyone:
        headers = {"Authorization": header} if header else {}
        for path in ("/jmap/session", "/jmap/api"):
            response = await anyone.request(
                "POST" if path == "/jmap/api" else "GET", path, headers=headers
            )
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith("Bearer ")
            assert response.headers["content-type"] == "application/problem+json"


async def test_a_token_is_good_as_the_password_of_basic(client: JmapClient) -> None:
    async with httpx.AsyncClient(base_url=client.url, trust_env=False) as other:
        response = await other.get("/jmap/session", auth=("ada", client.token))
    assert response.json()["username"] == "ada"


async def test_a_revoked_token_is_refused_at_once(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    token_id, token = await issue_token(dispatcher.pool, "ada")
    headers = {"Authorization": f"Bearer {token}"}
    assert (await client.http.get("/jmap/session", headers=headers)).status_code == 200
    await revoke_token(dispatcher.pool, token_id)
    dispatcher.authenticator.receive_control(ControlMessage(revoked=token_id))
    answer = await client.http.get("/jmap/session", headers=headers)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert (await client.http.get("/jmap/session")).status_code == 200


async def test_a_token_without_the_scope_is_forbidden(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    _, token = await issue_token(dispatcher.pool, "ada", ["append"])
    headers = {"Authorization": f"Bearer {token}"}
    assert (await client.http.get("/jmap/session", headers=headers)).status_code == 403


async def test_a_grant_opens_an_account_and_its_loss_closes_it(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """C-11, C-13; accountReadOnly, accountNotFound."""
    first = (await client.http.get("/jmap/session")).json()
    team = await add_account(dispatcher.pool, "team")
    user_id = await add_grant(dispatcher.pool, "team", "ada", "read")
    dispatcher.dispatcher.receive_control(ControlMessage(grants_changed=user_id))
    second = (await client.http.get("/jmap/session")).json()
    assert second["state"] != first["state"]
    assert second["accounts"][team]["isReadOnly"]
    [book] = (await client.call("AddressBook/get", accountId=team))["list"]
    assert not book["myRights"]["mayWrite"]
    assert book["isSubscribed"]  # docs/adr/0010
    assert book["shareWith"][user_id]["mayRead"]
    error = await client.error("AddressBook/set", accountId=team, create={"k": {"name": "x"}})
    assert error["type"] == "accountReadOnly"
    await remove_grant(dispatcher.pool, team, "ada")
    # No control message: the write finds out by itself, reads when the cache ends.
    dispatcher.dispatcher.receive_control(ControlMessage(grants_changed=user_id))
    error = await client.error("AddressBook/get", accountId=team)
    assert error["type"] == "accountNotFound"


async def test_another_users_account_is_not_there(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    _, other = await add_user(dispatcher.pool, "grace")
    error = await client.error("ContactCard/get", accountId=other)
    assert error["type"] == "accountNotFound"


async def test_discovery_leads_to_the_session(client: JmapClient) -> None:
    """C-15, C-14."""
    response = await client.http.get("/.well-known/jmap", follow_redirects=True)
    assert response.json()["apiUrl"] == f"{client.url}/jmap/api"
    assert response.headers["cache-control"] == "no-cache, no-store, must-revalidate"


async def test_health_is_open(client: JmapClient) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert (await client.http.get(path, headers={"Authorization": ""})).status_code == 200
