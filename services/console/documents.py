"""The console's API as OpenAPI 3.1, made of the list that its routes are made of."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from services.console.endpoints import Endpoint, Parameter
from services.console.entrance import OWN_HEADER
from services.console.sessions import COOKIE

Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_VARIABLE = re.compile(r"{(\w+)}")
_TEXT: Json = {"type": "string"}
_REFUSALS = {
    "400": "What is asked for does not exist in this form.",
    "401": "There is no login, and no valid token.",
    "403": f"The token lacks the scope `operate`, or the header `{OWN_HEADER}: 1` is missing.",
    "404": "There is nothing of this name or id.",
    "429": "Too many failed logins of this address: wait for Retry-After.",
    "503": "NATS or the database does not answer, or too many ask at once; ask again later.",
}


def openapi_document(endpoints: Sequence[Endpoint]) -> Json:
    structs = [struct for one in endpoints for struct in (one.body, one.result) if struct]
    _, components = msgspec.json.schema_components(structs, ref_template=_REF)
    paths: dict[str, Json] = {}
    for endpoint in endpoints:
        paths.setdefault(f"/console/api{endpoint.path}", {})[endpoint.method.lower()] = _operation(
            endpoint
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidings: operators' console",
            "version": "1",
            "description": "Log in for a cookie, or send `Authorization: Bearer` with a token of "
            "the scope `operate`. With the cookie, what is not GET needs the header "
            f"`{OWN_HEADER}: 1`.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
            },
        },
        "security": [{"bearer": []}, {"cookie": []}],
    }


_PROBLEM: Json = {
    "type": "object",
    "description": "RFC 7807.",
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": {**_TEXT, "description": "For people."},
    },
    "required": ["type", "status"],
}


def _operation(endpoint: Endpoint) -> Json:
    problem = {"schema": {"$ref": _REF.format(name="Problem")}}
    answer: Json = {"description": "Done." if endpoint.action else "What was asked for."}
    if endpoint.status != 204:  # noqa: PLR2004
        schema = {} if endpoint.result is None else _ref(endpoint.result)
        answer["content"] = {endpoint.result_type: {"schema": schema}}
    operation: Json = {
        "operationId": endpoint.name,
        "summary": endpoint.meaning,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": _TEXT}
                for name in _VARIABLE.findall(endpoint.path)
            ),
            *map(_parameter, endpoint.parameters),
        ],
        "responses": {
            str(endpoint.status): answer,
            **{
                status: {
                    "description": meaning,
                    "content": {"application/problem+json": problem},
                }
                for status, meaning in _REFUSALS.items()
            },
        },
    }
    if endpoint.body is not None:
        content = {"application/json": {"schema": _ref(endpoint.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    if endpoint.open_answer is not None:
        operation["security"] = []
    return operation


def _parameter(parameter: Parameter) -> Json:
    schemas: dict[str, Json] = {
        "text": _TEXT,
        "number": {"type": "integer", "minimum": 1},
        "many": {"type": "array", "items": _TEXT},
    }
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.meaning,
        "schema": schemas[parameter.kind],
    }


def _ref(struct: type[msgspec.Struct]) -> Json:
    schema: Json = msgspec.json.schema_components([struct], ref_template=_REF)[0][0]
    return schema
