"""The append API's documents say what it does."""

import asyncio
import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema_rs import validator_for
from schemathesis.openapi import from_dict

from services.dispatcher.append.documents import asyncapi_document
from services.dispatcher.append.request import RequestLimits
from services.dispatcher.documents import openapi_document
from shared.bus.connection import open_bus
from shared.jmap.session import CoreLimits
from tests.support.appends import RunningAppendApi, change
from tests.support.dispatcher import JmapClient

pytestmark = pytest.mark.integration

CALM = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


async def test_both_documents_are_served(client: JmapClient) -> None:
    openapi = (await client.http.get("/jmap/openapi.json")).json()
    assert "/tidings/append" in openapi["paths"]
    response = await client.http.get("/tidings/asyncapi.json")
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["append"]["address"] == "tidings.append"
    for reference in references(document):
        assert resolve(document, reference), reference


async def test_no_request_of_the_document_makes_a_500(api: RunningAppendApi) -> None:
    schema = from_dict(openapi_document([], CoreLimits()))
    operation = schema.find_operation_by_id("append")
    headers = {"Authorization": f"Bearer {api.token}"}
    told = {int(status) for status in openapi_responses()}

    @CALM
    @given(operation.as_strategy())
    def fuzz(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=api.url, headers=headers)
        assert response.status_code < 500, response.text
        assert response.status_code in told

    await asyncio.to_thread(fuzz)


async def test_answers_over_nats_are_what_the_document_says(api: RunningAppendApi) -> None:
    schemas = asyncapi_document(RequestLimits())["components"]["schemas"]
    messages = asyncapi_document(RequestLimits())["components"]["messages"]
    account = await api.account()
    mixed = change({account: {"Email": "e1"}, "anobody": {"Email": "e1"}})
    cases = [
        (change({account: {"Email": "e1"}}, {account: {"Email": 1}}), "Appended", "appended"),
        (mixed, "Appended", "appended"),
        (change({}), "Problem", "problem"),
        (change({"anobody": {"Email": "e1"}}), "Problem", "problem"),
    ]
    async with open_bus(api.nats_url, name="producer") as bus:
        for body, schema, message in cases:
            answer = await bus.client.request(
                "tidings.append",
                json.dumps(body).encode(),
                timeout=10,
                headers={"Authorization": f"Bearer {api.token}"},
            )
            validator_for(schemas[schema]).validate(json.loads(answer.data))
            validator_for(messages[message]["headers"]).validate(dict(answer.headers or {}))
        assert validator_for(schemas["StateChange"]).is_valid(mixed)
        assert not validator_for(schemas["StateChange"]).is_valid(change({}))


def openapi_responses() -> dict[str, Any]:
    document = openapi_document([], CoreLimits())
    responses: dict[str, Any] = document["paths"]["/tidings/append"]["post"]["responses"]
    return responses


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for item in value.values() for found in references(item)]
    if isinstance(value, list):
        return [found for item in value for found in references(item)]
    return []


def resolve(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document
