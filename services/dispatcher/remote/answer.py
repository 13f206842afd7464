"""What a method service answered, checked: a service is a neighbour, not a part of the server."""

import re
from collections.abc import Collection, Mapping
from typing import TypeAlias

import msgspec

from shared.jmap.i_json import INT_MAX, JsonObject, JsonValue, NotIJsonError, decode_i_json
from shared.jmap.ids import is_id
from shared.log.event import GivenState
from shared.method_service.contract import CONTRACT_VERSION

PARTIAL = "serverPartialFail"
_ERROR_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9:._-]{0,254}", re.ASCII)
_STATE_OCTETS_MAX = 255
_DESCRIPTION_MAX = 4096
_READING_VERBS = frozenset({"get", "changes", "query", "queryChanges"})

GivenStates: TypeAlias = dict[str, dict[str, GivenState]]
"""Account -> type -> state."""


class BadAnswerError(ValueError):
    """The message says what is wrong, without quoting it at length."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer is measured by: small, for it is kept while a late answer may come."""

    method: str
    creations: Collection[str]  # ids that the call makes
    destroys_original: bool  # of a /copy
    types: Collection[str]  # of the service
    writable: Collection[str]  # accounts
    created_ids: Mapping[str, str]
    octets_max: int
    created_max: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that may be believed; `responses` are one, or two of a /copy."""

    responses: list[tuple[str, JsonObject]]
    created_ids: dict[str, str]
    changed: GivenStates


def may_change(method: str) -> bool:
    """Whether a call whose end is unknown may have changed something."""
    return method.partition("/")[2] not in _READING_VERBS


def check_answer(body: bytes, asked: Asked) -> Answer:
    """Raises BadAnswerError. Members that the contract does not name are ignored."""
    reply = _object(body, asked.octets_max)
    first = _response(reply, asked.method)
    created_ids = _created_ids(reply.get("createdIds"), asked)
    changed = _changed(reply.get("changed"), asked)
    if first[0] == "error":
        if "implicit" in reply:
            raise BadAnswerError("implicit response to an error")
        if (created_ids or changed) and first[1]["type"] != PARTIAL:
            raise BadAnswerError("an error that changed something")  # RFC 8620 section 3.6.2
    responses = [first]
    if reply.get("implicit") is not None:
        responses.append(_implicit(reply["implicit"], asked))
    return Answer(responses=responses, created_ids=created_ids, changed=changed)


def _object(body: bytes, octets_max: int) -> JsonObject:
    if len(body) > octets_max:
        raise BadAnswerError(f"larger than {octets_max} octets")
    try:
        reply = decode_i_json(body)
    except NotIJsonError as error:
        raise BadAnswerError(str(error)) from error
    if not isinstance(reply, dict):
        raise BadAnswerError("no object")
    if reply.get("version", CONTRACT_VERSION) != CONTRACT_VERSION:
        raise BadAnswerError("of another version of the contract")
    return reply


def _response(reply: JsonObject, method: str) -> tuple[str, JsonObject]:
    name, arguments = reply.get("name"), reply.get("arguments")
    if not isinstance(arguments, dict):
        raise BadAnswerError("`arguments` is no object")
    if name == "error":
        return "error", _error(arguments)
    if name != method:
        raise BadAnswerError("`name` is neither the method nor error")
    return method, arguments


def _implicit(value: JsonValue, asked: Asked) -> tuple[str, JsonObject]:
    """The destruction of the originals (RFC 8620 section 5.4)."""
    type_name, _, verb = asked.method.partition("/")
    if verb != "copy" or not asked.destroys_original:
        raise BadAnswerError("implicit response to a call that makes none")
    if not isinstance(value, dict):
        raise BadAnswerError("`implicit` is no object")
    return _response(value, f"{type_name}/set")


def _error(arguments: JsonObject) -> JsonObject:
    kind, description = arguments.get("type"), arguments.get("description")
    if not isinstance(kind, str) or not _ERROR_TYPE.fullmatch(kind):
        raise BadAnswerError("an error without a type")
    if description is not None and (
        not isinstance(description, str) or len(description) > _DESCRIPTION_MAX
    ):
        raise BadAnswerError("the error's description is no string, or a long one")
    return arguments


def _created_ids(value: JsonValue, asked: Asked) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > asked.created_max:
        raise BadAnswerError("`createdIds` is no object, or a large one")
    created: dict[str, str] = {}
    for creation_id, record_id in value.items():
        if not is_id(creation_id) or not isinstance(record_id, str) or not is_id(record_id):
            raise BadAnswerError("`createdIds` does not map ids to ids")
        if creation_id in asked.created_ids and creation_id not in asked.creations:
            raise BadAnswerError("`createdIds` has one that another call made")
        created[creation_id] = record_id
    return created


def _changed(value: JsonValue, asked: Asked) -> GivenStates:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadAnswerError("`changed` is no object")
    return {account: _states(account, states, asked) for account, states in value.items()}


def _states(account: str, value: JsonValue, asked: Asked) -> dict[str, GivenState]:
    if account not in asked.writable:
        raise BadAnswerError("`changed` has an account that the user may not change")
    if not isinstance(value, dict) or not value:
        raise BadAnswerError("`changed` has an account without states")
    states: dict[str, GivenState] = {}
    for type_name, pair in value.items():
        if type_name not in asked.types:
            raise BadAnswerError("`changed` has a type that the service did not declare")
        match pair:
            case [str(state), int(order)] if (
                _is_state(state) and not isinstance(order, bool) and 0 <= order <= INT_MAX
            ):
                states[type_name] = GivenState(state, order)
            case _:
                raise BadAnswerError("`changed` has what is not [state, order]")
    return states


def _is_state(text: str) -> bool:
    return 0 < len(text.encode()) <= _STATE_OCTETS_MAX and text.isprintable()
