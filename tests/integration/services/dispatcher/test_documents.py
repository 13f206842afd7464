"""The generated documents, and a fuzz of the HTTP surface and of the request parser by them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import validator_for
from schemathesis.openapi import from_dict

from shared.jmap.session import CORE
from tests.support.contacts import generate
from tests.support.dispatcher import BLOB, CONTACTS, PRINCIPALS, JmapClient, RunningDispatcher

pytestmark = pytest.mark.integration

CALM = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


async def test_the_schema_of_a_card_takes_the_sample_cards(client: JmapClient) -> None:
    schema = (await client.http.get("/jmap/schema.json")).json()
    card = validator_for({**schema, "oneOf": [{"$ref": "#/$defs/ContactCard"}]})
    for sample in generate():
        card.validate({**sample, "addressBookIds": {"b1": True}})
    assert not card.is_valid({"addressBookIds": {}})
    assert not card.is_valid({"addressBookIds": {"b1": False}})
    book = validator_for({**schema, "oneOf": [{"$ref": "#/$defs/AddressBook"}]})
    for shown in (await client.call("AddressBook/get"))["list"]:
        book.validate(shown)


@pytest.mark.parametrize("operation_id", ["session", "api", "upload", "download"])
async def test_no_request_of_the_openapi_document_makes_a_500(
    client: JmapClient, operation_id: str
) -> None:
    document = (await client.http.get("/jmap/openapi.json")).json()
    schema = from_dict(document)
    operation = schema.find_operation_by_id(operation_id)
    headers = {"Authorization": f"Bearer {client.token}"}

    @CALM
    @given(operation.as_strategy())
    def fuzz(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=client.url, headers=headers)
        assert response.status_code < 500 or response.status_code == 507, response.text

    await asyncio.to_thread(fuzz)


METHODS = [
    f"{name}/{verb}"
    for name in ("ContactCard", "AddressBook", "Blob", "Core", "Principal", "ShareNotification")
    for verb in (
        "get",
        "changes",
        "set",
        "copy",
        "query",
        "queryChanges",
        "upload",
        "lookup",
        "echo",
    )
]
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5) | st.floats(-2, 2)
NAMES = st.sampled_from(
    [
        "id", "ids", "properties", "create", "update", "destroy", "filter", "sort", "operator",
        "conditions", "property", "limit", "position", "anchor", "name", "addressBookIds", "media",
        "blobId", "uid", "#ids", "resultOf", "path", "sinceState", "data", "data:asText", "kind",
        "fromAccountId", "typeNames", "blobIds", "offset", "length", "name/full", "shareWith",
        "mayRead", "mayWrite", "mayDelete", "type", "text", "accountIds", "anchor",
        "isDefault", "isSubscribed", "ifInState", "onSuccessSetIsDefault", "created", "emails",
    ]
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | NAMES | st.sampled_from(["#k", "s0", "s1", "AND", "NOT", "a\0b", "\u202e", "ada"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.sampled_from(["k", "#k"]), inner, max_size=3)
    ),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(METHODS), ARGUMENTS), min_size=1, max_size=6))
async def test_no_arguments_make_a_server_fail(
    dispatcher: RunningDispatcher, calls: list[tuple[str, Any]]
) -> None:
    """C-27, C-2a: whatever is asked, the answer is an answer or an error of the client's."""
    async with known_client(dispatcher) as client:
        request = {
            "using": [CORE, CONTACTS, BLOB, PRINCIPALS],
            "methodCalls": [
                [name, {"accountId": client.account_id, **arguments}, str(number)]
                for number, (name, arguments) in enumerate(calls)
            ],
        }
        response = await client.post(request)
    assert response.status_code == 200, response.text
    for name, answer, _ in response.json()["methodResponses"]:
        assert name != "error" or answer["type"] != "serverFail", (calls, answer)


@CALM
@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
async def test_no_body_makes_a_500(dispatcher: RunningDispatcher, body: bytes) -> None:
    async with known_client(dispatcher) as client:
        headers = {"Content-Type": "application/json"}
        response = await client.http.post("/jmap/api", content=body, headers=headers)
    assert response.status_code == 400


_known: dict[str, tuple[str, str]] = {}  # URL of a dispatcher -> token, account


@asynccontextmanager
async def known_client(dispatcher: RunningDispatcher) -> AsyncIterator[JmapClient]:
    """The same user in every example of a test."""
    if dispatcher.url not in _known:
        made = await dispatcher.user("ada")
        await made.add_card(name={"full": "ada"})
        await made.http.aclose()
        _known[dispatcher.url] = made.token, made.account_id
    client = JmapClient(dispatcher.url, *_known[dispatcher.url])
    yield client
    await client.http.aclose()
