"""Foo/query over the index columns of records: a compiled filter and order, run as SQL.

The text of a query is made of the declaration's own names and of numbered parameters, $1 being the
account; see services/dispatcher/methods/query.py.
"""
# ruff: noqa: S608 - nothing in the text comes from outside

from collections.abc import Sequence
from typing import Protocol

from shared.store.pool import Connection


class CompiledQuery(Protocol):
    """What the caller compiled; parameters count from $2."""

    @property
    def where(self) -> str: ...
    @property
    def order(self) -> str: ...
    @property
    def parameters(self) -> Sequence[object]: ...


async def query_page(
    connection: Connection,
    account_id: str,
    type_name: str,
    query: CompiledQuery,
    window: tuple[int, int],
) -> list[str]:
    """Ids in order; `window` is position and limit."""
    rows = await connection.fetch(
        f"""
        SELECT id FROM records WHERE {_matching(type_name, query)}
        ORDER BY {query.order} OFFSET {window[0]:d} LIMIT {window[1]:d}
        """,
        account_id,
        *query.parameters,
    )
    return [row["id"] for row in rows]


async def count_records(
    connection: Connection, account_id: str, type_name: str, query: CompiledQuery
) -> int:
    return int(
        await connection.fetchval(
            f"SELECT count(*) FROM records WHERE {_matching(type_name, query)}",
            account_id,
            *query.parameters,
        )
    )


async def place_of(
    connection: Connection, account_id: str, type_name: str, query: CompiledQuery, record_id: str
) -> int | None:
    """The record's index in the results; None: it is not among them."""
    place: int | None = await connection.fetchval(
        f"""
        SELECT place FROM (
            SELECT id, row_number() OVER (ORDER BY {query.order}) - 1 AS place
            FROM records WHERE {_matching(type_name, query)}) AS results
        WHERE id = ${len(query.parameters) + 2}
        """,
        account_id,
        *query.parameters,
        record_id,
    )
    return place


async def places_of_changed(
    connection: Connection,
    account_id: str,
    type_name: str,
    query: CompiledQuery,
    since_and_limit: tuple[int, int],
) -> list[tuple[str, int]]:
    """(id, index) of the results that changed since a modseq, by index."""
    since, limit = since_and_limit
    rows = await connection.fetch(
        f"""
        SELECT id, place FROM (
            SELECT id, modseq, row_number() OVER (ORDER BY {query.order}) - 1 AS place
            FROM records WHERE {_matching(type_name, query)}) AS results
        WHERE modseq > {since:d} ORDER BY place LIMIT {limit:d}
        """,
        account_id,
        *query.parameters,
    )
    return [(row["id"], row["place"]) for row in rows]


async def touched_ids(
    connection: Connection, account_id: str, type_name: str, since: int, limit: int
) -> list[str]:
    """Records that were there at `since` and changed or went after it."""
    rows = await connection.fetch(
        """
        SELECT id FROM records
        WHERE account_id = $1 AND type = $2 AND modseq > $3 AND created_modseq <= $3
        ORDER BY modseq LIMIT $4
        """,
        account_id,
        type_name,
        since,
        limit,
    )
    return [row["id"] for row in rows]


def _matching(type_name: str, query: CompiledQuery) -> str:
    """The type stands as a literal: the indexes are partial."""
    assert type_name.isalnum()  # noqa: S101 - a declared type's
    return f"account_id = $1 AND type = '{type_name}' AND data IS NOT NULL AND {query.where}"
