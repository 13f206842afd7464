"""The append API's documents, generated from the code: its part of OpenAPI, and AsyncAPI 3.0."""

from typing import Any

from services.dispatcher.append.request import (
    KEY_CHARACTERS_MAX,
    STATE_OCTETS_MAX,
    TYPE_NAME_PATTERN,
    RequestLimits,
)
from shared.jmap.i_json import INT_MAX
from shared.jmap.ids import ID_PATTERN
from shared.log.cursor import CURSOR_LENGTH_MAX

Json = dict[str, Any]

SUBJECT = "tidings.append"
_REPLIES = ("appended", "problem")
_TEXT: Json = {"type": "string"}
_ANSWERS = {
    "400": "It is no StateChange, or has too much. Nothing was kept.",
    "401": "There is no valid token. Nothing was kept.",
    "403": "The token lacks the scope, or a type is the server's own. Nothing was kept.",
    "404": "No account of the request exists. Nothing was kept.",
    "408": "The body did not arrive in time. Nothing was kept.",
    "413": "The request is too large. Nothing was kept.",
    "415": "It is not application/json. Nothing was kept.",
    "422": "The key is of another request, or no account has room. Nothing was kept.",
    "429": "Too much of this user's is under way. Ask again after Retry-After.",
    "500": "An error of the server. Ask again under the same key.",
    "503": "It may have been kept. Ask again under the same key, after Retry-After.",
}


def append_schemas(limits: RequestLimits) -> Json:
    """JSON Schema of what is asked and answered, by name."""
    state = {"type": "string", "minLength": 1, "maxLength": STATE_OCTETS_MAX}
    order = {"type": ["integer", "null"], "minimum": 0, "maximum": INT_MAX}
    return {
        "StateChange": {
            "type": "object",
            "description": "RFC 8620 section 7.1; `order` is the producer's own counter.",
            "properties": {
                "@type": {"const": "StateChange"},
                "changed": _by_account(_by_type(state), limits.max_accounts_in_append, 1),
                "order": _by_account(_by_type(order), limits.max_accounts_in_append, 0),
                "pushState": {"description": "Read over."},
            },
            "required": ["@type", "changed"],
            "additionalProperties": False,
            "examples": [
                {
                    "@type": "StateChange",
                    "changed": {"a1b2c3": {"Email": "s42", "EmailDelivery": "d7"}},
                    "order": {"a1b2c3": {"Email": 42}},
                }
            ],
        },
        "Appended": {
            "type": "object",
            "properties": {
                "cursor": {"type": "string", "maxLength": CURSOR_LENGTH_MAX},
                "notAppended": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "properties": {
                            "type": {"enum": ["accountNotFound", "overQuota"]},
                            "description": _TEXT,
                        },
                        "required": ["type"],
                    },
                },
            },
            "required": ["cursor"],
        },
    }


def append_path(ref: str) -> Json:
    """`POST /tidings/append`; `ref` is where schemas are, with `{name}`."""
    problem = {"schema": {"$ref": ref.format(name="Problem")}}
    retry = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    refused = {
        status: {
            "description": meaning,
            "content": {"application/problem+json": problem},
            **({"headers": retry} if status in ("429", "503") else {}),
        }
        for status, meaning in _ANSWERS.items()
    }
    appended = {"schema": {"$ref": ref.format(name="Appended")}}
    change = {"schema": {"$ref": ref.format(name="StateChange")}}
    return {
        "post": {
            "operationId": "append",
            "description": "Needs the scope `append`. Answered when the log has it on disk.",
            "parameters": [{"name": "Idempotency-Key", "in": "header", "schema": _key()}],
            "requestBody": {"required": True, "content": {"application/json": change}},
            "responses": {
                "200": {
                    "description": "In the log, all but `notAppended`.",
                    "content": {"application/json": appended},
                },
                **refused,
            },
        }
    }


def asyncapi_document(limits: RequestLimits) -> Json:
    """Of NATS request and reply on `tidings.append`."""
    problem = {
        "type": "object",
        "properties": {"type": _TEXT, "status": {"type": "integer"}, "detail": _TEXT},
        "required": ["type", "status"],
    }
    meanings = " ".join(f"{status}: {meaning}" for status, meaning in _ANSWERS.items())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tidings: append API",
            "version": "1",
            "description": f"What each Nats-Service-Error-Code means. {meanings}",
        },
        "defaultContentType": "application/json",
        "channels": {
            "append": {
                "address": SUBJECT,
                "messages": {"request": {"$ref": "#/components/messages/request"}},
            },
            "reply": {
                "address": None,  # the request's reply subject, without which it is not served
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _REPLIES},
            },
        },
        "operations": {
            "append": {
                "action": "receive",
                "channel": {"$ref": "#/channels/append"},
                "messages": [{"$ref": "#/channels/append/messages/request"}],
                "reply": {
                    "channel": {"$ref": "#/channels/reply"},
                    "messages": [{"$ref": f"#/channels/reply/messages/{it}"} for it in _REPLIES],
                },
            }
        },
        "components": {
            "messages": _messages(),
            "schemas": {**append_schemas(limits), "Problem": problem},
        },
    }


def _messages() -> Json:
    code = {"type": "string", "enum": sorted(set(_ANSWERS) - {"408", "415"})}
    return {
        "request": _message(
            "StateChange",
            required=["Authorization"],
            Authorization={"type": "string", "examples": ["Bearer …"]},
            traceparent=_TEXT,
            **{"Idempotency-Key": _key()},
        ),
        "appended": _message("Appended", required=[], **{"X-Request-Id": _TEXT}),
        "problem": _message(
            "Problem",
            required=["Nats-Service-Error-Code", "Nats-Service-Error"],
            **{
                "Nats-Service-Error-Code": code,
                "Nats-Service-Error": _TEXT,
                "Retry-After": _TEXT,
                "X-Request-Id": _TEXT,
            },
        ),
    }


def _message(schema: str, *, required: list[str], **headers: Json) -> Json:
    return {
        "headers": {"type": "object", "properties": headers, "required": required},
        "payload": {"$ref": f"#/components/schemas/{schema}"},
    }


def _key() -> Json:
    pattern = f"^[!-~]{{1,{KEY_CHARACTERS_MAX}}}$"
    return {"type": "string", "pattern": pattern, "description": "Kept for 24 hours."}


def _by_account(value: Json, accounts_max: int, accounts_min: int) -> Json:
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{ID_PATTERN}$"},
        "additionalProperties": value,
        "minProperties": accounts_min,
        "maxProperties": accounts_max,
    }


def _by_type(value: Json) -> Json:
    return {
        "type": "object",
        "propertyNames": {"pattern": f"^{TYPE_NAME_PATTERN}$"},
        "additionalProperties": value,
        "minProperties": 1,
    }
