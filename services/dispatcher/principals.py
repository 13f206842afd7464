"""Principal methods (RFC 9670 section 2), in the user's personal account; who sees whom: adr/0010.

Principals are the users, read as they are now: no history of them is kept, as of a directory.
"""

from collections.abc import Iterable, Sequence

import asyncpg
import msgspec

from services.dispatcher.methods.arguments import (
    ChangesArguments,
    GetArguments,
    SetArguments,
    read_arguments,
)
from services.dispatcher.methods.get import requested_ids
from services.dispatcher.methods.principal import (
    PROPERTIES,
    Principal,
    exact_names,
    in_order,
    is_match,
    page,
    parse_filter,
    parse_sort,
    state_of,
)
from services.dispatcher.methods.query import QueryArguments, QueryChangesArguments
from services.dispatcher.querying import QUERY_IDS_MAX
from services.dispatcher.registry import Answers, Call, Method
from services.dispatcher.sessions import Sessions
from services.dispatcher.types.principals import PRINCIPALS, home_of
from shared.jmap.errors import MethodError, SetError, invalid_arguments
from shared.jmap.i_json import JsonObject, JsonValue
from shared.jmap.ids import is_id
from shared.jmap.session import CoreLimits
from shared.store.principals import NamedUser, acquainted_users, users_of

_FORBIDDEN = SetError(type="forbidden", description="Users are managed by the command line.")


class PrincipalMethods:
    """`sessions` shows accounts as the session does."""

    def __init__(self, pool: asyncpg.Pool, sessions: Sessions, limits: CoreLimits) -> None:
        self._pool = pool
        self._sessions = sessions
        self._limits = limits

    def methods(self) -> list[Method]:
        handlers = {
            "get": self._get,
            "changes": self._changes,
            "set": self._set,
            "query": self._query,
            "queryChanges": self._query_changes,
        }
        return [
            Method(name=f"Principal/{verb}", capability=PRINCIPALS, handle=handle)
            for verb, handle in handlers.items()
        ]

    async def _get(self, call: Call) -> Answers:
        """All that the user is acquainted with; by id also others, for an id is no guess."""
        arguments = read_arguments(call.arguments, GetArguments)
        account = home_of(call, arguments.account_id)
        unknown = set(arguments.properties or ()) - PROPERTIES
        if unknown:
            raise invalid_arguments(f"There is no property {min(unknown)!r}.", "properties")
        objects_max = self._limits.max_objects_in_get
        ids = requested_ids(arguments, call.created_ids, objects_max)
        acquainted, asked = await self._read(call, ids=[item for item in ids or () if is_id(item)])
        if ids is None and len(acquainted) > objects_max:
            raise MethodError("requestTooLarge", f"More than {objects_max} Principals: name ids.")
        shown = acquainted if ids is None else asked
        found = {principal.id: _shown(principal, arguments.properties) for principal in shown}
        answer: JsonObject = {
            "accountId": account.id,
            "state": state_of(acquainted),
            "list": [found[item] for item in (found if ids is None else ids) if item in found],
            "notFound": [item for item in ids or () if item not in found],
        }
        return [("Principal/get", answer)]

    async def _changes(self, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, ChangesArguments)
        account = home_of(call, arguments.account_id)
        acquainted, _ = await self._read(call)
        if arguments.since_state != state_of(acquainted):
            raise MethodError("cannotCalculateChanges")
        answer: JsonObject = {
            "accountId": account.id,
            "oldState": arguments.since_state,
            "newState": arguments.since_state,
            "hasMoreChanges": False,
            "created": [],
            "updated": [],
            "destroyed": [],
        }
        return [("Principal/changes", answer)]

    async def _set(self, call: Call) -> Answers:
        """Section 2.3: what the server does not allow is `forbidden`; it allows nothing."""
        arguments = read_arguments(call.arguments, SetArguments)
        account = home_of(call, arguments.account_id)
        if arguments.object_count > self._limits.max_objects_in_set:
            raise MethodError("requestTooLarge")
        acquainted, _ = await self._read(call)
        state = state_of(acquainted)
        if arguments.if_in_state not in (None, state):
            raise MethodError("stateMismatch")
        answer: JsonObject = {
            "accountId": account.id,
            "oldState": state,
            "newState": state,
            "created": None,
            "updated": None,
            "destroyed": None,
            "notCreated": _all_forbidden(arguments.create),
            "notUpdated": _all_forbidden(arguments.update),
            "notDestroyed": _all_forbidden(arguments.destroy),
        }
        return [("Principal/set", answer)]

    async def _query(self, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, QueryArguments)
        account = home_of(call, arguments.account_id)
        condition, sort = parse_filter(arguments.filter), parse_sort(arguments.sort)
        acquainted, named = await self._read(call, names=exact_names(condition))
        known = {principal.id: principal for principal in (*acquainted, *named)}
        matching = [item for item in known.values() if is_match(condition, item)]
        ids = [principal.id for principal in in_order(matching, sort)]
        position, shown = page(ids, arguments, QUERY_IDS_MAX)
        answer: JsonObject = {
            "accountId": account.id,
            "queryState": state_of(acquainted),
            "canCalculateChanges": False,
            "position": position,
            "ids": list[JsonValue](shown),
        }
        if arguments.calculate_total:
            answer["total"] = len(ids)
        if arguments.limit is None or arguments.limit > QUERY_IDS_MAX:
            answer["limit"] = QUERY_IDS_MAX
        return [("Principal/query", answer)]

    async def _query_changes(self, call: Call) -> Answers:
        """Section 2.5 lets a server always answer so."""
        arguments = read_arguments(call.arguments, QueryChangesArguments)
        home_of(call, arguments.account_id)
        parse_filter(arguments.filter)
        parse_sort(arguments.sort)
        raise MethodError("cannotCalculateChanges")

    async def _read(
        self, call: Call, *, ids: Sequence[str] = (), names: Iterable[str] = ()
    ) -> tuple[list[Principal], list[Principal]]:
        """Those with whom the user is acquainted, and those of these ids or exact names."""
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            acquainted = await acquainted_users(connection, call.user_id)
            others = await users_of(connection, ids=ids, names=names)
        return self._principals(call, acquainted), self._principals(call, others)

    def _principals(self, call: Call, users: Sequence[NamedUser]) -> list[Principal]:
        objects = self._sessions.account_objects(call.user_id, call.accounts.values())
        owned: dict[str, JsonObject] = {}
        for account in call.accounts.values():
            if account.owner_id is not None:
                owned.setdefault(account.owner_id, {})[account.id] = objects[account.id]
        return [
            Principal(id=user.id, name=user.name, accounts=owned.get(user.id)) for user in users
        ]


def _shown(principal: Principal, properties: Sequence[str] | None) -> JsonObject:
    whole: JsonObject = msgspec.to_builtins(principal)
    if properties is None:
        return whole
    return {name: value for name, value in whole.items() if name == "id" or name in properties}


def _all_forbidden(keys: Iterable[str] | None) -> JsonValue:
    error: JsonObject = msgspec.to_builtins(_FORBIDDEN)
    return dict.fromkeys(keys or (), error) or None
