"""Binary data: written and read in pieces, so that no blob is ever whole in memory."""

from collections.abc import AsyncIterator, Collection, Sequence

import asyncpg
import msgspec

from shared.jmap.ids import is_id
from shared.store.ids import new_id
from shared.store.pool import Connection, Executor
from shared.store.records import AccountGoneError

PIECE_BYTES = 256 * 1024
INLINE_BYTES_MAX = 64 * 1024  # up to here a blob is in its own row


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """`user_id` uploaded it; `type` is what was said then, and no more than a hint."""

    id: str
    user_id: str | None
    size: int
    type: str | None


class BlobTooLargeError(ValueError):
    """More octets than the writer allows."""


class BlobLostError(LookupError):
    """What was written so far is gone: its account was removed, or it took an hour and more."""


class BlobWriter:
    """Takes octets; `finish` makes them a blob. What is not finished is removed by the job."""

    def __init__(
        self, pool: asyncpg.Pool, account_id: str, user_id: str, *, bytes_max: int
    ) -> None:
        self._pool = pool
        self._account_id = account_id
        self._user_id = user_id
        self._bytes_max = bytes_max
        self._id = new_id("g")
        self._buffer = bytearray()
        self._stored = 0  # octets in pieces
        self._type: str | None = None

    async def write(self, data: bytes) -> None:
        """Raises BlobTooLargeError, BlobLostError."""
        if self._stored + len(self._buffer) + len(data) > self._bytes_max:
            raise BlobTooLargeError
        self._buffer += data
        while len(self._buffer) >= PIECE_BYTES:
            await self._store(bytes(self._buffer[:PIECE_BYTES]))
            del self._buffer[:PIECE_BYTES]

    async def finish(self, type_: str | None) -> Blob:
        """Raises BlobLostError."""
        size = self._stored + len(self._buffer)
        if self._stored == 0 and size <= INLINE_BYTES_MAX:
            await self._insert(size, type_, bytes(self._buffer), is_complete=True)
        else:
            if self._buffer or not self._stored:
                await self._store(bytes(self._buffer))
            finished = await self._pool.execute(
                """
                UPDATE blobs SET is_complete = true, size = $3, type = $4
                WHERE account_id = $1 AND id = $2
                """,
                self._account_id,
                self._id,
                size,
                type_,
            )
            if finished != "UPDATE 1":
                raise BlobLostError
        return Blob(id=self._id, user_id=self._user_id, size=size, type=type_)

    async def abandon(self) -> None:
        await self._pool.execute(
            "DELETE FROM blobs WHERE account_id = $1 AND id = $2", self._account_id, self._id
        )

    async def _store(self, piece: bytes) -> None:
        if self._stored == 0:
            await self._insert(0, None, None, is_complete=False)
        try:
            await self._pool.execute(
                "INSERT INTO blob_pieces (account_id, blob_id, place, content)"
                " VALUES ($1, $2, $3, $4)",
                self._account_id,
                self._id,
                self._stored,
                piece,
            )
        except asyncpg.ForeignKeyViolationError as error:
            raise BlobLostError from error
        self._stored += len(piece)

    async def _insert(
        self, size: int, type_: str | None, content: bytes | None, *, is_complete: bool
    ) -> None:
        inserted = await self._pool.execute(
            """
            INSERT INTO blobs (account_id, id, user_id, size, type, content, is_complete)
            SELECT id, $2, $3, $4, $5, $6, $7 FROM accounts
            WHERE id = $1 AND removed_at IS NULL FOR KEY SHARE
            """,
            self._account_id,
            self._id,
            self._user_id,
            size,
            type_,
            content,
            is_complete,
        )
        if inserted != "INSERT 0 1":
            raise BlobLostError


async def insert_blob(
    connection: Connection, account_id: str, user_id: str, blob_id: str, type_: str, content: bytes
) -> None:
    """A blob that is in memory already, in the caller's transaction."""
    is_inline = len(content) <= INLINE_BYTES_MAX
    await connection.execute(
        "INSERT INTO blobs (account_id, id, user_id, size, type, content)"
        " VALUES ($1, $2, $3, $4, $5, $6)",
        account_id,
        blob_id,
        user_id,
        len(content),
        type_,
        content if is_inline else None,
    )
    if not is_inline:
        places = range(0, len(content), PIECE_BYTES)
        await connection.executemany(
            "INSERT INTO blob_pieces (account_id, blob_id, place, content) VALUES ($1, $2, $3, $4)",
            [
                (account_id, blob_id, place, content[place : place + PIECE_BYTES])
                for place in places
            ],
        )


async def find_blobs(executor: Executor, account_id: str, ids: Collection[str]) -> dict[str, Blob]:
    """Those that exist, by id; who may see them is not asked here."""
    rows = await executor.fetch(
        """
        SELECT id, user_id, size, type FROM blobs
        WHERE account_id = $1 AND id = ANY($2::text[]) AND is_complete
        """,
        account_id,
        [blob_id for blob_id in ids if is_id(blob_id)],  # PostgreSQL refuses U+0000
    )
    return {
        row["id"]: Blob(id=row["id"], user_id=row["user_id"], size=row["size"], type=row["type"])
        for row in rows
    }


async def read_blob(
    executor: Executor, account_id: str, blob_id: str, start: int, end: int
) -> AsyncIterator[bytes]:
    """The octets from `start` up to `end`, piece by piece; it takes a connection for each."""
    inline = await executor.fetchval(
        "SELECT content FROM blobs WHERE account_id = $1 AND id = $2", account_id, blob_id
    )
    if inline is not None:
        yield inline[start:end]
        return
    place = start - start % PIECE_BYTES
    while place < end:
        piece = await executor.fetchval(
            """
            SELECT content FROM blob_pieces
            WHERE account_id = $1 AND blob_id = $2 AND place = $3
            """,
            account_id,
            blob_id,
            place,
        )
        if piece is None:  # removed meanwhile
            return
        yield piece[max(start - place, 0) : end - place]
        place += PIECE_BYTES


async def copy_blobs(
    connection: Connection, source: str, target: str, user_id: str, ids: Sequence[str]
) -> None:
    """Under the same ids; what is there already stays, and lives for its hour again.

    In the caller's transaction. Raises AccountGoneError.
    """
    held = await connection.fetchval(
        "SELECT true FROM accounts WHERE id = $1 AND removed_at IS NULL FOR KEY SHARE", target
    )
    if held is None:
        raise AccountGoneError(target)
    await connection.execute(
        """
        INSERT INTO blobs (account_id, id, user_id, size, type, content, is_complete)
        SELECT $2, id, $3, size, type, content, true FROM blobs
        WHERE account_id = $1 AND id = ANY($4::text[]) AND is_complete
        ON CONFLICT (account_id, id) DO UPDATE SET unused_at = now()
        """,
        source,
        target,
        user_id,
        ids,
    )
    await connection.execute(
        """
        INSERT INTO blob_pieces (account_id, blob_id, place, content)
        SELECT $2, blob_id, place, content FROM blob_pieces
        WHERE account_id = $1 AND blob_id = ANY($3::text[])
        ON CONFLICT DO NOTHING
        """,
        source,
        target,
        ids,
    )


async def stored_bytes(executor: Executor, account_id: str) -> int:
    """All of the account's blobs together."""
    return int(
        await executor.fetchval(
            "SELECT coalesce(sum(size), 0) FROM blobs WHERE account_id = $1", account_id
        )
    )


async def unused_blobs(executor: Executor, account_id: str, user_id: str) -> list[Blob]:
    """What the user uploaded and nothing was seen to refer to, oldest first."""
    rows = await executor.fetch(
        """
        SELECT id, user_id, size, type FROM blobs
        WHERE account_id = $1 AND user_id = $2 AND unused_at IS NOT NULL AND is_complete
        ORDER BY created_at
        """,
        account_id,
        user_id,
    )
    return [
        Blob(id=row["id"], user_id=row["user_id"], size=row["size"], type=row["type"])
        for row in rows
    ]


async def mark_used(executor: Executor, account_id: str, ids: Collection[str]) -> None:
    """A record refers to them; the job will notice when none does any more."""
    await executor.execute(
        "UPDATE blobs SET unused_at = NULL WHERE account_id = $1 AND id = ANY($2::text[])",
        account_id,
        list(ids),
    )


async def mark_unused(executor: Executor, account_id: str, ids: Collection[str]) -> None:
    """From now on they live for an hour."""
    await executor.execute(
        """
        UPDATE blobs SET unused_at = now()
        WHERE account_id = $1 AND id = ANY($2::text[]) AND unused_at IS NULL
        """,
        account_id,
        list(ids),
    )


async def delete_blobs(executor: Executor, account_id: str, ids: Collection[str]) -> None:
    await executor.execute(
        "DELETE FROM blobs WHERE account_id = $1 AND id = ANY($2::text[])", account_id, list(ids)
    )
