"""The API's documents, generated from the code: OpenAPI, JSON Schema of the types, AsyncAPI."""

from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.dispatcher.append.documents import append_path, append_schemas, asyncapi_document
from services.dispatcher.append.request import RequestLimits
from services.dispatcher.methods.arguments import (
    ChangesArguments,
    CopyArguments,
    GetArguments,
    SetArguments,
)
from services.dispatcher.methods.blob import (
    BlobCopyArguments,
    BlobGetArguments,
    LookupArguments,
    UploadArguments,
)
from services.dispatcher.methods.declaration import UtcDate, Yes
from services.dispatcher.methods.push_subscription import (
    PushGetArguments,
    PushSetArguments,
    PushSubscription,
)
from services.dispatcher.methods.query import QueryArguments, QueryChangesArguments
from services.dispatcher.types.contacts import AddressBook, ContactCard
from shared.jmap.session import CoreLimits

_TYPES = (AddressBook, ContactCard, PushSubscription)
_ARGUMENTS = (
    GetArguments,
    ChangesArguments,
    SetArguments,
    CopyArguments,
    QueryArguments,
    QueryChangesArguments,
    BlobCopyArguments,
    UploadArguments,
    BlobGetArguments,
    LookupArguments,
    PushGetArguments,
    PushSetArguments,
)
_REF = "#/components/schemas/{name}"
_JSON = "application/json"

Json = dict[str, Any]


def type_schemas() -> Json:
    """JSON Schema 2020-12 of every declared type, and of what they are made of."""
    _, components = msgspec.json.schema_components(
        _TYPES, schema_hook=_custom, ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": components,
        "oneOf": [{"$ref": f"#/$defs/{type_.__name__}"} for type_ in _TYPES],
    }


def openapi_document(methods: Iterable[str], limits: CoreLimits) -> Json:
    """`methods` are the names that a request may call."""
    _, components = msgspec.json.schema_components(
        (*_TYPES, *_ARGUMENTS, CoreLimits), schema_hook=_custom, ref_template=_REF
    )
    components |= _envelope(methods, limits) | append_schemas(RequestLimits())
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tidings: JMAP", "version": "1"},
        "paths": {**_paths(), "/tidings/append": append_path(_REF)},
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def document_routes(methods: Iterable[str], limits: CoreLimits) -> list[Route]:
    """Open to everybody: they say nothing of anybody's data."""
    documents = {
        "/jmap/openapi.json": msgspec.json.encode(openapi_document(methods, limits)),
        "/jmap/schema.json": msgspec.json.encode(type_schemas()),
        "/tidings/asyncapi.json": msgspec.json.encode(asyncapi_document(RequestLimits())),
    }
    return [Route(path, _serve(body)) for path, body in documents.items()]


def _serve(body: bytes) -> Any:  # noqa: ANN401 - an endpoint of Starlette's
    async def answer(_: Request) -> Response:
        headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "max-age=300"}
        return Response(body, headers=headers, media_type=_JSON)

    return answer


_TEXT: Json = {"type": "string"}


def _envelope(methods: Iterable[str], limits: CoreLimits) -> Json:
    return {
        "Problem": _object(type={"type": "string"}, status={"type": "integer"}, detail=_TEXT),
        "Invocation": {
            "type": "array",
            "prefixItems": [
                {"type": "string", "examples": sorted(methods)},
                {"type": "object"},
                {"type": "string"},
            ],
            "minItems": 3,
            "maxItems": 3,
        },
        "Request": _object(
            using={"type": "array", "items": _TEXT},
            methodCalls={
                "type": "array",
                "items": {"$ref": _REF.format(name="Invocation")},
                "maxItems": limits.max_calls_in_request,
            },
        ),
        "Response": _object(
            methodResponses={"type": "array", "items": {"$ref": _REF.format(name="Invocation")}},
            sessionState=_TEXT,
        ),
        "Session": _object(
            capabilities={"type": "object"},
            accounts={"type": "object"},
            primaryAccounts={"type": "object"},
            username=_TEXT,
            apiUrl=_TEXT,
            downloadUrl=_TEXT,
            uploadUrl=_TEXT,
            eventSourceUrl=_TEXT,
            state=_TEXT,
        ),
        "Upload": _object(accountId=_TEXT, blobId=_TEXT, type=_TEXT, size={"type": "integer"}),
    }


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _custom(type_: type) -> Json:
    if type_ is Yes:
        return {"const": True}
    if type_ is UtcDate:
        return {"type": "string", "format": "date-time", "pattern": "Z$"}
    return {}


def _answers(schema: str, *errors: int, status: int = 200) -> Json:
    described: Json = {str(status): _content("Done.", _JSON, {"$ref": _REF.format(name=schema)})}
    problem = {"$ref": _REF.format(name="Problem")}
    for error in (401, 403, *errors):
        described[str(error)] = _content("Refused.", "application/problem+json", problem)
    return described


def _content(description: str, media_type: str, schema: Json) -> Json:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _parameter(name: str, where: str) -> Json:
    return {"name": name, "in": where, "required": where == "path", "schema": _TEXT}


def _paths() -> Json:
    account = _parameter("accountId", "path")
    octets = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
    request = {_JSON: {"schema": {"$ref": _REF.format(name="Request")}}}
    return {
        "/jmap/session": {"get": {"operationId": "session", "responses": _answers("Session")}},
        "/jmap/api": {
            "post": {
                "operationId": "api",
                "requestBody": {"required": True, "content": request},
                "responses": _answers("Response", 400, 413, 415, 429),
            }
        },
        "/jmap/upload/{accountId}/": {
            "post": {
                "operationId": "upload",
                "parameters": [account],
                "requestBody": {"required": True, "content": octets},
                "responses": _answers("Upload", 404, 413, 429, 507, status=201),
            }
        },
        "/jmap/download/{accountId}/{blobId}/{name}": {
            "get": {
                "operationId": "download",
                "parameters": [
                    account,
                    _parameter("blobId", "path"),
                    _parameter("name", "path"),
                    _parameter("type", "query"),
                ],
                "responses": {
                    **_answers("Problem", 404, 416),
                    "200": {"description": "The octets.", "content": octets},
                    "206": {"description": "A range of them.", "content": octets},
                },
            }
        },
    }
