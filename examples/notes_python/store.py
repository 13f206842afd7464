"""Notes in PostgreSQL. Each change takes the next modseq of its account, under its row lock."""

import secrets
from typing import TypeAlias

import asyncpg
import msgspec
from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
ID_BYTES = 10


class Note(msgspec.Struct, frozen=True):
    id: str
    title: str
    body: str


class Change(msgspec.Struct, frozen=True):
    """What became of a note since some modseq."""

    id: str
    modseq: int
    is_created: bool
    is_destroyed: bool


class Transaction:
    """Changes of one account, all or none."""

    def __init__(self, connection: Connection, account_id: str, modseq: int) -> None:
        self._connection = connection
        self._account_id = account_id
        self.modseq = modseq

    async def create(self, title: str, body: str) -> str:
        note_id = "n" + secrets.token_hex(ID_BYTES)
        self.modseq += 1
        await self._connection.execute(
            "INSERT INTO notes.notes (account_id, id, title, body, created, modseq)"
            " VALUES ($1, $2, $3, $4, $5, $5)",
            self._account_id,
            note_id,
            title,
            body,
            self.modseq,
        )
        return note_id

    async def update(self, note_id: str, title: str | None, body: str | None) -> bool:
        """None leaves as it is. False: there is no such note."""
        return await self._change(
            "UPDATE notes.notes SET title = coalesce($4, title), body = coalesce($5, body),"
            " modseq = $3 WHERE account_id = $1 AND id = $2 AND title IS NOT NULL",
            note_id,
            title,
            body,
        )

    async def destroy(self, note_id: str) -> bool:
        """False: there is no such note."""
        return await self._change(
            "UPDATE notes.notes SET title = NULL, body = NULL, modseq = $3"
            " WHERE account_id = $1 AND id = $2 AND title IS NOT NULL",
            note_id,
        )

    async def _change(self, statement: str, note_id: str, *values: str | None) -> bool:
        done = await self._connection.execute(
            statement, self._account_id, note_id, self.modseq + 1, *values
        )
        if done == "UPDATE 0":
            return False
        self.modseq += 1
        return True


async def begin(connection: Connection, account_id: str) -> Transaction:
    """Inside a database transaction; other writers of the account wait for its end."""
    modseq = await connection.fetchval(
        "INSERT INTO notes.accounts AS known (id) VALUES ($1)"
        " ON CONFLICT (id) DO UPDATE SET modseq = known.modseq RETURNING modseq",
        account_id,
    )
    return Transaction(connection, account_id, modseq)


async def finish(connection: Connection, account_id: str, modseq: int) -> None:
    """The change and the intention to tell it commit together."""
    await connection.execute(
        "UPDATE notes.accounts SET modseq = $2 WHERE id = $1", account_id, modseq
    )


async def read_modseq(connection: Connection, account_id: str) -> int:
    modseq = await connection.fetchval(
        "SELECT modseq FROM notes.accounts WHERE id = $1", account_id
    )
    return modseq or 0


async def read_notes(connection: Connection, account_id: str, ids: list[str] | None) -> list[Note]:
    """None: all of them."""
    rows = await connection.fetch(
        "SELECT id, title, body FROM notes.notes WHERE account_id = $1 AND title IS NOT NULL"
        " AND ($2::text[] IS NULL OR id = ANY($2)) ORDER BY created",
        account_id,
        ids,
    )
    return [Note(*row) for row in rows]


async def read_changes(
    connection: Connection, account_id: str, since: int, limit: int
) -> list[Change]:
    """Oldest first; what was created and destroyed since is left out."""
    rows = await connection.fetch(
        "SELECT id, modseq, created > $2, title IS NULL FROM notes.notes"
        " WHERE account_id = $1 AND modseq > $2 AND NOT (created > $2 AND title IS NULL)"
        " ORDER BY modseq LIMIT $3",
        account_id,
        since,
        limit,
    )
    return [Change(*row) for row in rows]


async def read_untold(pool: asyncpg.Pool, accounts_max: int) -> dict[str, int]:
    """Account -> newest modseq, where the log may lack it."""
    rows = await pool.fetch(
        "SELECT id, modseq FROM notes.accounts WHERE told < modseq LIMIT $1", accounts_max
    )
    return {row["id"]: row["modseq"] for row in rows}


async def note_told(pool: asyncpg.Pool, told: dict[str, int]) -> None:
    await pool.execute(
        "UPDATE notes.accounts SET told = greatest(told, given.modseq)"
        " FROM unnest($1::text[], $2::bigint[]) AS given (id, modseq)"
        " WHERE accounts.id = given.id",
        list(told),
        list(told.values()),
    )
