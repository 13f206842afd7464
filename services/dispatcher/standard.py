"""The standard methods of declared types, over PostgreSQL: each call one transaction."""

import functools
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeAlias

import asyncpg
import msgspec

from services.dispatcher.methods.arguments import (
    ChangesArguments,
    GetArguments,
    SetArguments,
    read_arguments,
    take_argument,
)
from services.dispatcher.methods.declaration import DeclaredType
from services.dispatcher.methods.get import check_properties, requested_ids, shown_record
from services.dispatcher.methods.set import Drafter, wanted_ids
from services.dispatcher.methods.settle import Settled, settle
from services.dispatcher.mutation import (
    Committed,
    Target,
    decode_record,
    lock_to_write,
    look_around,
    viewer,
    viewer_of,
    with_default,
    with_stored_media,
    write_settled,
    write_sharing,
)
from services.dispatcher.quick_set import set_quickly
from services.dispatcher.registry import Answers, Call, Method
from shared.jmap.envelope import Arguments
from shared.jmap.errors import MethodError
from shared.jmap.i_json import JsonObject, JsonValue
from shared.jmap.ids import modseq_of, state_token
from shared.jmap.session import CoreLimits
from shared.store.ids import new_id
from shared.store.people import VisibleAccount
from shared.store.pool import Connection
from shared.store.records import (
    RecordChange,
    StoredRecord,
    Written,
    read_changes,
    read_first_ids,
    read_records,
    read_state,
)

_CHANGES_MAX = 5000  # ids in one answer, when the client sets no limit

GrantsChanged: TypeAlias = Callable[[Collection[str]], Awaitable[None]]
"""Told, after the commit, of the users who may see something else now; never raises."""


class StandardMethods:
    """Makes the methods of each declared type."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        types: Mapping[str, DeclaredType],
        limits: CoreLimits,
        committed: Committed,
        grants_changed: GrantsChanged,
    ) -> None:
        self._pool = pool
        self.types = types
        self._limits = limits
        self._committed = committed
        self._grants_changed = grants_changed

    def methods(self) -> list[Method]:
        verbs = {"get": self._get, "changes": self._changes, "set": self._set}
        return [
            Method(
                name=f"{declared.name}/{verb}",
                capability=declared.capability,
                handle=functools.partial(handle, declared),
            )
            for declared in self.types.values()
            for verb, handle in verbs.items()
        ]

    async def _get(self, declared: DeclaredType, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, GetArguments)
        account = call.account(arguments.account_id)
        check_properties(declared, arguments.properties)
        objects_max = self._limits.max_objects_in_get
        ids = requested_ids(arguments, call.created_ids, objects_max)
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            state = await read_state(connection, account.id, declared.name)
            found = await _found(connection, account.id, declared, ids, objects_max)
            looking = await viewer_of(connection, account.id, viewer(call, account), declared)
        shown = {
            record.id: shown_record(
                declared,
                record.id,
                record.data,
                viewer=looking,
                properties=arguments.properties,
            )
            for record in found
        }
        ordered = list(shown) if ids is None else [item for item in ids if item in shown]
        answer: Arguments = {
            "accountId": account.id,
            "state": state.token,
            "list": [shown[record_id] for record_id in ordered],
            "notFound": list[JsonValue](item for item in ids or () if item not in shown),
        }
        return [(f"{declared.name}/get", answer)]

    async def _changes(self, declared: DeclaredType, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, ChangesArguments)
        account = call.account(arguments.account_id)
        limit = min(arguments.max_changes or _CHANGES_MAX, _CHANGES_MAX)
        since = modseq_of(arguments.since_state)
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            state = await read_state(connection, account.id, declared.name)
            if since is None or since > state.modseq or since < state.history_from:
                raise MethodError("cannotCalculateChanges")
            changes = await read_changes(connection, account.id, declared.name, since, limit + 1)
        has_more = len(changes) > limit
        shown = changes[:limit]
        answer: JsonObject = {
            "accountId": account.id,
            "oldState": arguments.since_state,
            "newState": state_token(shown[-1].place) if has_more else state.token,
            "hasMoreChanges": has_more,
            **_sorted_changes(shown),
        }
        return [(f"{declared.name}/changes", answer)]

    async def _set(self, declared: DeclaredType, call: Call) -> Answers:
        return [await self.set(declared, call)]

    async def set(self, declared: DeclaredType, call: Call) -> tuple[str, JsonObject]:
        """The answer's name and arguments; raises MethodError."""
        request = _SetRequest(declared, call)
        arguments, is_own = request.arguments, request.is_of_the_user
        account = (call.account if is_own else call.writable_account)(arguments.account_id)
        objects_max = self._limits.max_objects_in_set
        if arguments.object_count > objects_max:
            raise MethodError("requestTooLarge", f"More than {objects_max} objects.")
        target = Target(account.id, declared, call.cause)
        quick = None
        if not is_own:
            looking = viewer(call, account)
            quick = await set_quickly(self._pool, target, call, arguments, looking)
        if quick is not None:
            settled, written = quick
            done = _Done(settled, written, written.old_state(declared.name))
        else:
            done = await self._set_under_lock(request, target, account)
        call.created_ids.update(done.settled.created_ids)
        new_state = done.old_state
        if done.written is not None:
            self._committed(done.written.entry)
            await self._grants_changed(done.told)
            moved = done.written.entry.states.get(declared.name)
            new_state = done.old_state if moved is None else moved.state
        answer = _set_answer(account.id, done.old_state, new_state, done.settled)
        return f"{declared.name}/set", answer

    async def _set_under_lock(
        self, request: "_SetRequest", target: Target, account: VisibleAccount
    ) -> "_Done":
        declared, call, arguments = request.declared, request.call, request.arguments
        async with self._pool.acquire() as connection, connection.transaction():
            account = await lock_to_write(
                connection, call, account, may_read_only=request.is_of_the_user
            )
            if arguments.if_in_state is not None:
                before = await read_state(connection, account.id, declared.name)
                if arguments.if_in_state != before.token:
                    raise MethodError("stateMismatch")
            settled = await self._settled(connection, request, account)
            written = await write_settled(
                connection, target, settled, self.types if request.may_empty else {}
            )
            told = await write_sharing(connection, target, settled)
            if written is None:
                state = await read_state(connection, account.id, declared.name)
                return _Done(settled, None, state.token, told)
        return _Done(settled, written, written.old_state(declared.name), told)

    async def _settled(
        self, connection: Connection, request: "_SetRequest", account: VisibleAccount
    ) -> Settled:
        declared, call, arguments = request.declared, request.call, request.arguments
        wanted = wanted_ids(arguments, call.created_ids)
        found = await read_records(connection, account.id, declared.name, wanted) if wanted else []
        drafter = Drafter(
            declared,
            {record.id: decode_record(record) for record in found},
            viewer=await viewer_of(connection, account.id, viewer(call, account), declared),
            created_ids=call.created_ids,
            new_id=functools.partial(new_id, declared.id_prefix),
        )
        drafts = await with_stored_media(
            connection, account.id, declared, drafter.draft(arguments), user_id=call.user_id
        )
        known = await look_around(
            connection,
            account.id,
            declared,
            drafts,
            user_id=call.user_id,
            may_empty=request.may_empty,
        )
        settled = settle(declared, drafts, known)
        chosen = request.default_id(settled) if settled.is_clean else None
        return await with_default(connection, account.id, declared, settled, chosen)


class _Done(msgspec.Struct, frozen=True):
    """What became of a /set call; `told` are users who may see something else now."""

    settled: Settled
    written: Written | None
    old_state: str
    told: frozenset[str] = frozenset()


class _SetRequest:
    """The arguments of /set, those of the type's own taken apart."""

    def __init__(self, declared: DeclaredType, call: Call) -> None:
        rest = call.arguments
        self.declared = declared
        self.call = call
        self.may_empty = False
        self._default: str | None = None
        if declared.container is not None:
            may_empty, rest = take_argument(rest, declared.container.argument, bool)
            self.may_empty = bool(may_empty)
        if declared.default_flag is not None:
            self._default, rest = take_argument(rest, declared.default_flag.argument, str)
        self.arguments = read_arguments(rest, SetArguments)

    @property
    def is_of_the_user(self) -> bool:
        """Whether it changes only properties of which each user has an own value.

        Such a call is no change of the account, so a user who may only read may make it: RFC 9610
        section 2.3 lets "users" subscribe, and `accountReadOnly` (RFC 8620 section 3.6.2) is for
        changes of what the account holds. A call that asks for anything else too gets that error.
        """
        given = self.arguments
        if not given.update or given.create or given.destroy or self._default is not None:
            return False
        return all(self.declared.per_user.issuperset(patch) for patch in given.update.values())

    def default_id(self, settled: Settled) -> str | None:
        """The record that shall become the default; a creation id is resolved."""
        wanted = self._default
        if wanted is None or not wanted.startswith("#"):
            return wanted
        return settled.created_ids.get(wanted[1:], self.call.created_ids.get(wanted[1:]))


async def _found(
    connection: Connection,
    account_id: str,
    declared: DeclaredType,
    ids: list[str] | None,
    objects_max: int,
) -> list[StoredRecord]:
    if ids is not None:
        return await read_records(connection, account_id, declared.name, ids)
    every = await read_first_ids(connection, account_id, declared.name, records_max=objects_max)
    if len(every) > objects_max:
        raise MethodError("requestTooLarge", f"More than {objects_max} records: name ids.")
    found = await read_records(connection, account_id, declared.name, every)
    place = {record_id: index for index, record_id in enumerate(every)}
    return sorted(found, key=lambda record: place[record.id])


def _sorted_changes(changes: list[RecordChange]) -> JsonObject:
    created = [change.id for change in changes if change.is_created]
    destroyed = [change.id for change in changes if change.is_destroyed]
    known = {*created, *destroyed}
    return {
        "created": list(created),
        "updated": [change.id for change in changes if change.id not in known],
        "destroyed": list(destroyed),
    }


def _set_answer(account_id: str, old: str, new: str, settled: Settled) -> JsonObject:
    answer: JsonObject = {
        "accountId": account_id,
        "oldState": old,
        "newState": new,
        "created": msgspec.to_builtins(settled.created) or None,
        "updated": msgspec.to_builtins(settled.updated) or None,
        "destroyed": msgspec.to_builtins(settled.destroyed) or None,
        "notCreated": msgspec.to_builtins(settled.not_created) or None,
        "notUpdated": msgspec.to_builtins(settled.not_updated) or None,
        "notDestroyed": msgspec.to_builtins(settled.not_destroyed) or None,
    }
    return answer
