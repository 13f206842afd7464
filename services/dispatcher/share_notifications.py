"""ShareNotification methods (RFC 9670 section 3): there never is one.

The capability promises the methods; that a server makes notifications is a SHOULD (docs/adr/0010).
"""

from services.dispatcher.methods.arguments import (
    ChangesArguments,
    GetArguments,
    SetArguments,
    read_arguments,
)
from services.dispatcher.methods.query import QueryArguments, QueryChangesArguments
from services.dispatcher.registry import Answers, Call, Method
from services.dispatcher.types.principals import PRINCIPALS, home_of
from shared.jmap.errors import MethodError
from shared.jmap.i_json import JsonObject, JsonValue

_STATE = "s0"
_FORBIDDEN: JsonObject = {"type": "forbidden", "description": "Only the server makes them."}
_NOT_FOUND: JsonObject = {"type": "notFound"}


async def _get(call: Call) -> Answers:
    arguments = read_arguments(call.arguments, GetArguments)
    account = home_of(call, arguments.account_id)
    answer: JsonObject = {
        "accountId": account.id,
        "state": _STATE,
        "list": [],
        "notFound": list[JsonValue](dict.fromkeys(arguments.ids or ())),
    }
    return [("ShareNotification/get", answer)]


async def _changes(call: Call) -> Answers:
    arguments = read_arguments(call.arguments, ChangesArguments)
    account = home_of(call, arguments.account_id)
    _require_state(arguments.since_state)
    answer: JsonObject = {
        "accountId": account.id,
        "oldState": _STATE,
        "newState": _STATE,
        "hasMoreChanges": False,
        "created": [],
        "updated": [],
        "destroyed": [],
    }
    return [("ShareNotification/changes", answer)]


async def _set(call: Call) -> Answers:
    """Section 3.3: a create or an update is `forbidden`."""
    arguments = read_arguments(call.arguments, SetArguments)
    account = home_of(call, arguments.account_id)
    if arguments.if_in_state not in (None, _STATE):
        raise MethodError("stateMismatch")
    answer: JsonObject = {
        "accountId": account.id,
        "oldState": _STATE,
        "newState": _STATE,
        "created": None,
        "updated": None,
        "destroyed": None,
        "notCreated": dict.fromkeys(arguments.create or (), _FORBIDDEN) or None,
        "notUpdated": dict.fromkeys(arguments.update or (), _FORBIDDEN) or None,
        "notDestroyed": dict.fromkeys(arguments.destroy or (), _NOT_FOUND) or None,
    }
    return [("ShareNotification/set", answer)]


async def _query(call: Call) -> Answers:
    arguments = read_arguments(call.arguments, QueryArguments)
    account = home_of(call, arguments.account_id)
    if arguments.anchor is not None:
        raise MethodError("anchorNotFound")
    answer: JsonObject = {
        "accountId": account.id,
        "queryState": _STATE,
        "canCalculateChanges": True,
        "position": max(arguments.position, 0),
        "ids": [],
    }
    if arguments.calculate_total:
        answer["total"] = 0
    return [("ShareNotification/query", answer)]


async def _query_changes(call: Call) -> Answers:
    arguments = read_arguments(call.arguments, QueryChangesArguments)
    account = home_of(call, arguments.account_id)
    _require_state(arguments.since_query_state)
    answer: JsonObject = {
        "accountId": account.id,
        "oldQueryState": _STATE,
        "newQueryState": _STATE,
        "removed": [],
        "added": [],
    }
    if arguments.calculate_total:
        answer["total"] = 0
    return [("ShareNotification/queryChanges", answer)]


def _require_state(state: str) -> None:
    if state != _STATE:
        raise MethodError("cannotCalculateChanges")


METHODS = [
    Method(name=f"ShareNotification/{verb}", capability=PRINCIPALS, handle=handle)
    for verb, handle in {
        "get": _get,
        "changes": _changes,
        "set": _set,
        "query": _query,
        "queryChanges": _query_changes,
    }.items()
]
