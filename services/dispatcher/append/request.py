"""What a producer may ask: a StateChange (RFC 8620 section 7.1) with or without orders; no I/O.

    {"@type": "StateChange", "changed": {account: {type: state}}, "order": {account: {type: int}}}

`order` may be left out, as a whole or for any state. `pushState`, which a StateChange that came
over a WebSocket has (RFC 8887), is read over; any other member is an error, since a misspelt
`order` would be an order that does not count.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import TypeAlias

import msgspec

from shared.jmap.errors import RequestError, limit_exceeded, not_json, not_request
from shared.jmap.i_json import INT_MAX, JsonObject, JsonValue, NotIJsonError, decode_i_json
from shared.jmap.ids import is_id
from shared.log.event import GivenState

STATE_OCTETS_MAX = 255
TYPE_NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9_.:/-]{0,254}"  # as an event source's
KEY_CHARACTERS_MAX = 255

_DEPTH_MAX = 4  # of the shape above, and one to spare
_TYPE_NAME = re.compile(TYPE_NAME_PATTERN, re.ASCII)
_KEY = re.compile(rf"[!-~]{{1,{KEY_CHARACTERS_MAX}}}", re.ASCII)

Given: TypeAlias = Mapping[str, Mapping[str, GivenState]]
"""Account -> type -> state."""


class RequestLimits(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one request may hold; every number is enforced."""

    max_size_request: int = 1_000_000  # octets; NATS takes no more by default
    max_accounts_in_append: int = 1000
    max_states_in_append: int = 5000


def given_from_json(body: bytes, own_types: Collection[str], limits: RequestLimits) -> Given:
    """Raises RequestError: notJSON, notRequest, limit, or forbidden for a type of `own_types`."""
    if len(body) > limits.max_size_request:
        raise limit_exceeded(
            "maxSizeRequest",
            f"The request is larger than {limits.max_size_request} octets.",
            http_status=413,
        )
    try:
        value = decode_i_json(body, depth_max=_DEPTH_MAX)
    except NotIJsonError as error:
        raise not_json(str(error)) from error
    changed, orders = _members(value)
    _check_counts(changed, limits)
    given = {
        account_id: _states(account_id, states, _object(orders.pop(account_id, {}), "order"))
        for account_id, states in changed.items()
    }
    if orders:
        raise not_request(f"order names {next(iter(orders))!r}, which changed does not.")
    _refuse_own(given, own_types)
    return given


def key_from(text: str | None) -> str | None:
    """The value of an Idempotency-Key header. Raises RequestError (notRequest)."""
    if text is None:
        return None
    if _KEY.fullmatch(text) is None:
        raise not_request(
            f"An Idempotency-Key is 1 to {KEY_CHARACTERS_MAX} printable ASCII characters"
            " without spaces."
        )
    return text


def digest_of(body: bytes) -> bytes:
    """Tells a repeated request from another one under the same key."""
    return hashlib.sha256(body).digest()


def _members(value: JsonValue) -> tuple[JsonObject, JsonObject]:
    if not isinstance(value, dict) or value.get("@type") != "StateChange":
        raise not_request('The request is an object whose "@type" is "StateChange".')
    if unknown := value.keys() - {"@type", "changed", "order", "pushState"}:
        raise not_request(f"A StateChange has no member {min(unknown)!r}.")
    orders = value.get("order")
    return _object(value.get("changed"), "changed"), _object(
        {} if orders is None else orders, "order"
    )


def _check_counts(changed: JsonObject, limits: RequestLimits) -> None:
    if not changed:
        raise not_request("changed names no account.")
    if len(changed) > limits.max_accounts_in_append:
        raise limit_exceeded(
            "maxAccountsInAppend", f"changed names over {limits.max_accounts_in_append} accounts."
        )
    states = sum(len(states) for states in changed.values() if isinstance(states, dict))
    if states > limits.max_states_in_append:
        raise limit_exceeded(
            "maxStatesInAppend", f"changed has over {limits.max_states_in_append} states."
        )


def _states(account_id: str, value: JsonValue, orders: JsonObject) -> dict[str, GivenState]:
    if not is_id(account_id):
        raise not_request(f"{account_id!r} is no account id.")
    states = _object(value, f"changed/{account_id}")
    if not states:
        raise not_request(f"changed/{account_id} names no type.")
    if unknown := orders.keys() - states.keys():
        raise not_request(f"order/{account_id} names {min(unknown)!r}, which changed does not.")
    return {
        type_name: _state(type_name, state, orders.get(type_name))
        for type_name, state in states.items()
    }


def _state(type_name: str, state: JsonValue, order: JsonValue) -> GivenState:
    if _TYPE_NAME.fullmatch(type_name) is None:
        raise not_request(f"{type_name!r} is no name of a type.")
    if not isinstance(state, str) or not _is_token(state):
        raise not_request(
            f"The state of {type_name} is a string of 1 to {STATE_OCTETS_MAX} octets, printable."
        )
    if order is not None and (type(order) is not int or not 0 <= order <= INT_MAX):
        raise not_request(f"The order of {type_name} is an integer from 0 to 2^53-1.")
    return GivenState(state, order)


def _is_token(state: str) -> bool:
    return 0 < len(state.encode()) <= STATE_OCTETS_MAX and state.isprintable()


def _refuse_own(given: Given, own_types: Collection[str]) -> None:
    own = {name for states in given.values() for name in states if name in own_types}
    if own:
        raise RequestError(
            "forbidden",
            f"This server makes the states of {', '.join(sorted(own))} itself.",
            http_status=403,
        )


def _object(value: JsonValue, name: str) -> JsonObject:
    if not isinstance(value, dict):
        raise not_request(f"{name} is an object.")
    return dict(value)
