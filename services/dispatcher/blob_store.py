"""Who may use a blob, which records refer to it, and room for new ones (RFC 8620 section 6)."""

from collections.abc import Collection, Mapping
from datetime import timedelta

import asyncpg
import msgspec

from services.dispatcher.methods.declaration import DeclaredType
from services.dispatcher.methods.image import IMAGE_HEAD_BYTES, is_image
from services.dispatcher.methods.index import BLOB, blob_ids
from shared.jmap.i_json import JsonObject
from shared.store.blobs import (
    Blob,
    delete_blobs,
    find_blobs,
    mark_used,
    read_blob,
    stored_bytes,
    unused_blobs,
)
from shared.store.pool import Connection, Executor
from shared.store.records import AccountGoneError, lock_account, read_tagged, tag

_RECORDS_MAX = 1000  # told of one blob
_JOB_BLOBS = 200
UNUSED_LIFETIME = timedelta(hours=1)

_decoder = msgspec.json.Decoder(JsonObject)


class BlobLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Octets."""

    unused_bytes_max: int = 250_000_000  # per user and account, without a reference
    account_bytes_max: int = 20_000_000_000


class OverQuotaError(Exception):
    """The account has no room left, even without what nobody refers to."""


async def references(
    connection: Executor,
    account_id: str,
    declared: DeclaredType,
    ids: Collection[str],
    *,
    records_max: int = _RECORDS_MAX,
) -> dict[str, list[str]]:
    """Blob id -> up to `records_max` records of the type that refer to it.

    Each blob is asked for alone, so that one that many refer to does not hide another's.
    """
    found: dict[str, list[str]] = {blob_id: [] for blob_id in ids}
    if declared.blobs is None:
        return found
    for blob_id, records in found.items():
        wanted = tag(account_id, declared.name, BLOB, blob_id)
        tagged = await read_tagged(connection, account_id, declared.name, [wanted], records_max)
        records.extend(
            record.id
            for record in tagged
            if blob_id in blob_ids(declared, _decoder.decode(record.data))
        )
    return found


async def visible_blobs(
    executor: Executor,
    account_id: str,
    user_id: str,
    types: Collection[DeclaredType],
    ids: Collection[str],
) -> dict[str, Blob]:
    """An unreferenced blob exists for who uploaded it only (RFC 8620 section 6.1)."""
    blobs = await find_blobs(executor, account_id, ids) if ids else {}
    others = [blob.id for blob in blobs.values() if blob.user_id != user_id]
    referenced: set[str] = set()
    for declared in types:
        found = await references(executor, account_id, declared, others, records_max=1)
        referenced.update(blob_id for blob_id, records in found.items() if records)
    hidden = set(others) - referenced
    return {blob_id: blob for blob_id, blob in blobs.items() if blob_id not in hidden}


async def usable_blobs(
    connection: Connection,
    account_id: str,
    user_id: str,
    declared: DeclaredType,
    ids: Collection[str],
) -> Mapping[str, bool]:
    """Those of `ids` that a record of this user may refer to -> whether it is an image."""
    usable: dict[str, bool] = {}
    visible = await visible_blobs(connection, account_id, user_id, [declared], ids)
    for blob in visible.values():
        head = b""
        async for piece in read_blob(
            connection, account_id, blob.id, 0, min(blob.size, IMAGE_HEAD_BYTES)
        ):
            head += piece
        usable[blob.id] = is_image(head)
    return usable


class BlobKeeper:
    """Makes room for uploads, and removes what nobody refers to any more."""

    def __init__(
        self, pool: asyncpg.Pool, types: Collection[DeclaredType], limits: BlobLimits
    ) -> None:
        self._pool = pool
        self.types = types
        self._limits = limits

    async def make_room(self, account_id: str, blob: Blob) -> None:
        """After `blob` was stored: delete older unreferenced ones, oldest first.

        Raises OverQuotaError; `blob` is then for the caller to delete.
        """
        assert blob.user_id is not None  # noqa: S101 - just uploaded
        async with self._pool.acquire() as connection, connection.transaction():
            await lock_account(connection, account_id)
            unused = await unused_blobs(connection, account_id, blob.user_id)
            older = [item for item in unused if item.id != blob.id]
            excess = sum(item.size for item in unused) - self._limits.unused_bytes_max
            for item in older:
                if excess <= 0:
                    break
                if await self._delete_unreferenced(connection, account_id, [item.id]):
                    excess -= item.size
            total = await stored_bytes(connection, account_id)
        if total > self._limits.account_bytes_max:
            raise OverQuotaError

    async def remove_unused(self, *, older_than: timedelta = UNUSED_LIFETIME) -> int:
        """One round of the job; returns how many blobs it looked at."""
        rows = await self._pool.fetch(
            """
            SELECT account_id, array_agg(id) AS ids FROM (
                SELECT account_id, id FROM blobs WHERE unused_at < now() - $1::interval
                ORDER BY unused_at LIMIT $2) AS old
            GROUP BY account_id
            """,
            older_than,
            _JOB_BLOBS,
        )
        for row in rows:
            async with self._pool.acquire() as connection, connection.transaction():
                try:
                    await lock_account(connection, row["account_id"])
                except AccountGoneError:
                    continue
                await self._delete_unreferenced(connection, row["account_id"], row["ids"])
        return sum(len(row["ids"]) for row in rows)

    async def _delete_unreferenced(
        self, connection: Connection, account_id: str, ids: list[str]
    ) -> list[str]:
        """The account is locked, so no record can begin to refer to one of them."""
        used: set[str] = set()
        for declared in self.types:
            found = await references(connection, account_id, declared, ids, records_max=1)
            used.update(blob_id for blob_id, records in found.items() if records)
        deleted = [blob_id for blob_id in ids if blob_id not in used]
        if used:
            await mark_used(connection, account_id, used)
        await delete_blobs(connection, account_id, deleted)
        return deleted
