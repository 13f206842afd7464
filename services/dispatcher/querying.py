"""/query and /queryChanges of declared types, as SQL (RFC 8620 sections 5.5 and 5.6)."""

import functools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import asyncpg

from services.dispatcher.methods.arguments import read_arguments
from services.dispatcher.methods.declaration import DeclaredType
from services.dispatcher.methods.query import (
    Query,
    QueryArguments,
    QueryChangesArguments,
    compile_query,
    first_position,
    parse_filter,
    parse_sort,
    tagged_values,
)
from services.dispatcher.registry import Answers, Call, Method
from shared.jmap.errors import MethodError
from shared.jmap.i_json import JsonObject
from shared.jmap.ids import is_id, modseq_of
from shared.store.pool import Connection
from shared.store.queries import (
    count_records,
    place_of,
    places_of_changed,
    query_page,
    touched_ids,
)
from shared.store.records import read_state, tag

QUERY_IDS_MAX = 5000
_CHANGES_MAX = 20_000


class QueryMethods:
    """For the types that declare what to query by."""

    def __init__(self, pool: asyncpg.Pool, types: Iterable[DeclaredType]) -> None:
        self._pool = pool
        self._types = [declared for declared in types if declared.query is not None]

    def methods(self) -> list[Method]:
        verbs = {"query": self._query, "queryChanges": self._query_changes}
        return [
            Method(
                name=f"{declared.name}/{verb}",
                capability=declared.capability,
                handle=functools.partial(handle, declared),
            )
            for declared in self._types
            for verb, handle in verbs.items()
        ]

    async def _query(self, declared: DeclaredType, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, QueryArguments)
        account = call.account(arguments.account_id)
        query = _compiled(declared, account.id, arguments)
        limit = QUERY_IDS_MAX if arguments.limit is None else min(arguments.limit, QUERY_IDS_MAX)
        async with self._reading() as connection:
            state = await read_state(connection, account.id, declared.name)
            total = None
            if arguments.calculate_total or (arguments.position < 0 and not arguments.anchor):
                total = await count_records(connection, account.id, declared.name, query)
            position = first_position(arguments.position, total or 0)
            if arguments.anchor is not None:
                found = None
                if is_id(arguments.anchor):
                    found = await place_of(
                        connection, account.id, declared.name, query, arguments.anchor
                    )
                if found is None:
                    raise MethodError("anchorNotFound")
                position = max(found + arguments.anchor_offset, 0)
            ids = await query_page(connection, account.id, declared.name, query, (position, limit))
        answer: JsonObject = {
            "accountId": account.id,
            "queryState": state.token,
            "canCalculateChanges": True,
            "position": position,
            "ids": list(ids),
        }
        if arguments.calculate_total:
            answer["total"] = total
        if limit != arguments.limit:
            answer["limit"] = limit
        return [(f"{declared.name}/query", answer)]

    async def _query_changes(self, declared: DeclaredType, call: Call) -> Answers:
        """What changed since may have moved, so it is taken out and, if it still matches, put in.

        `upToId` may be ignored, for cards have no immutable property to filter or sort by.
        """
        arguments = read_arguments(call.arguments, QueryChangesArguments)
        account = call.account(arguments.account_id)
        query = _compiled(declared, account.id, arguments)
        since = modseq_of(arguments.since_query_state)
        async with self._reading() as connection:
            state = await read_state(connection, account.id, declared.name)
            if since is None or since > state.modseq or since < state.history_from:
                raise MethodError("cannotCalculateChanges")
            removed = await touched_ids(
                connection, account.id, declared.name, since, _CHANGES_MAX + 1
            )
            added = (
                await places_of_changed(
                    connection, account.id, declared.name, query, (since, _CHANGES_MAX + 1)
                )
                if since < state.modseq
                else []
            )
            total = None
            if arguments.calculate_total:
                total = await count_records(connection, account.id, declared.name, query)
        count = len(removed) + len(added)
        if count > _CHANGES_MAX:
            raise MethodError("cannotCalculateChanges", f"More than {_CHANGES_MAX} changes.")
        if arguments.max_changes is not None and count > arguments.max_changes:
            raise MethodError("tooManyChanges")
        answer: JsonObject = {
            "accountId": account.id,
            "oldQueryState": arguments.since_query_state,
            "newQueryState": state.token,
            "removed": list(removed),
            "added": [{"id": record_id, "index": place} for record_id, place in added],
        }
        if arguments.calculate_total:
            answer["total"] = total
        return [(f"{declared.name}/queryChanges", answer)]

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Connection]:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            # The plan depends on how common a word is, so it must not be shared by all words.
            await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            yield connection


def _compiled(
    declared: DeclaredType, account_id: str, arguments: QueryArguments | QueryChangesArguments
) -> Query:
    condition = parse_filter(declared, arguments.filter)
    sort = parse_sort(declared, arguments.sort)
    tags = {value: tag(account_id, declared.name, *value) for value in tagged_values(condition)}
    return compile_query(condition, sort, tags, first_parameter=2)
