"""Records of declared types, the states of their types, and the history of their changes.

Every change of a record takes the next modseq of its account, under the account's row lock; so
modseqs are unique in an account, commits are in their order, and history can be cut at any change.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from typing import Literal, TypeAlias

import asyncpg
import msgspec

from shared.jmap.ids import is_id, state_token
from shared.log.event import Cause, OrderedState
from shared.store.outbox import OutboxEntry, insert_outbox
from shared.store.pool import Connection, Executor

Role: TypeAlias = Literal["owner", "write", "read"]
"""What a grant lets a user do with an account."""


READ_OCTETS_MAX = 10_000_000
"""Of the records that are read at once: each may be large, and all of them are held in memory."""

_RECORDS_AT_ONCE = 50  # most calls are about fewer, and take one round trip


class StoredRecord(msgspec.Struct, frozen=True):
    """A record that exists; `data` is its JSON without the id."""

    id: str
    data: bytes


class RecordWrite(msgspec.Struct, frozen=True, kw_only=True):
    """A change of one record; `data` None destroys it. `tags` as `tag` makes them."""

    type: str
    id: str
    is_create: bool = False
    data: bytes | None
    tags: Collection[int] = ()
    sort: bytes = b"{}"  # JSON: sort keys by name
    search: bytes = b"{}"  # JSON: words in sequence by name


class Written(msgspec.Struct, frozen=True):
    """A mutation; `before` has the modseq of each type's last change before it."""

    entry: OutboxEntry
    before: dict[str, int]

    def old_state(self, type_name: str) -> str:
        return state_token(self.before.get(type_name, 0))


class RecordChange(msgspec.Struct, frozen=True):
    """What happened to a record since some modseq; `place` is where history can be cut."""

    id: str
    place: int
    is_created: bool
    is_destroyed: bool


class TypeState(msgspec.Struct, frozen=True):
    """`modseq` of the type's last change, 0: never; changes are known from `history_from` on."""

    modseq: int
    history_from: int

    @property
    def token(self) -> str:
        return state_token(self.modseq)


class AccountGoneError(LookupError):
    """The account was removed."""


class RecordsTooLargeError(Exception):
    """More than `READ_OCTETS_MAX`; fewer of them at once can be read."""


def tag(account_id: str, type_name: str, *parts: str) -> int:
    """64 bits that stand for a value of a record in the index."""
    text = "\0".join((account_id, type_name, *parts))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


async def lock_account(
    connection: Connection, account_id: str, *, user_id: str | None = None
) -> Role | None:
    """Until the end of the transaction nobody else changes its records.

    Returns the role of `user_id` as it is now; None without a user, or without a grant. Raises
    AccountGoneError.
    """
    found = await connection.fetchval(
        "SELECT true FROM accounts WHERE id = $1 AND removed_at IS NULL FOR UPDATE", account_id
    )
    if found is None:
        raise AccountGoneError(account_id)
    if user_id is None:
        return None
    # Not in the statement that waits: its snapshot has grants that were taken while it waited.
    role: Role | None = await connection.fetchval(
        "SELECT role FROM grants WHERE user_id = $1 AND account_id = $2", user_id, account_id
    )
    return role


async def read_state(connection: Connection, account_id: str, type_name: str) -> TypeState:
    row = await connection.fetchrow(
        "SELECT ord, history_from FROM type_states WHERE account_id = $1 AND type = $2",
        account_id,
        type_name,
    )
    return TypeState(0, 0) if row is None else TypeState(row["ord"], row["history_from"])


async def read_records(
    connection: Connection, account_id: str, type_name: str, ids: Sequence[str]
) -> list[StoredRecord]:
    """Those of `ids` that exist, in no order. Raises RecordsTooLargeError."""
    wanted = [record_id for record_id in ids if is_id(record_id)]  # PostgreSQL refuses U+0000
    found: list[StoredRecord] = []
    octets_left = READ_OCTETS_MAX
    for place in range(0, len(wanted), _RECORDS_AT_ONCE):
        rows = await connection.fetch(
            """
            SELECT id, data FROM records
            WHERE account_id = $1 AND type = $2 AND id = ANY($3::text[]) AND data IS NOT NULL
            """,
            account_id,
            type_name,
            wanted[place : place + _RECORDS_AT_ONCE],
        )
        octets_left -= sum(len(row["data"]) for row in rows)
        if octets_left < 0:
            raise RecordsTooLargeError
        found += [StoredRecord(row["id"], row["data"]) for row in rows]
    return found


async def read_records_seen(
    executor: Executor, account_id: str, type_name: str, ids: Sequence[str]
) -> tuple[list[StoredRecord], dict[str, int]]:
    """As `read_records`, with the modseq of each, to tell later whether it is still as it was."""
    rows = await executor.fetch(
        """
        SELECT id, data, modseq FROM records
        WHERE account_id = $1 AND type = $2 AND id = ANY($3::text[]) AND data IS NOT NULL
        """,
        account_id,
        type_name,
        [record_id for record_id in ids if is_id(record_id)],
    )
    found = [StoredRecord(row["id"], row["data"]) for row in rows]
    return found, {row["id"]: row["modseq"] for row in rows}


async def read_all_records(
    connection: Connection, account_id: str, type_name: str, *, records_max: int
) -> list[StoredRecord]:
    """Oldest first; one more than `records_max` tells the caller that there are too many."""
    rows = await connection.fetch(
        """
        SELECT id, data FROM records
        WHERE account_id = $1 AND type = $2 AND data IS NOT NULL
        ORDER BY created_modseq LIMIT $3
        """,
        account_id,
        type_name,
        records_max + 1,
    )
    return [StoredRecord(row["id"], row["data"]) for row in rows]


async def read_first_ids(
    connection: Connection, account_id: str, type_name: str, *, records_max: int
) -> list[str]:
    """As `read_all_records`, of which there may be more than should be read at once."""
    rows = await connection.fetch(
        """
        SELECT id FROM records
        WHERE account_id = $1 AND type = $2 AND data IS NOT NULL
        ORDER BY created_modseq LIMIT $3
        """,
        account_id,
        type_name,
        records_max + 1,
    )
    return [row["id"] for row in rows]


async def read_tagged(
    connection: Executor, account_id: str, type_name: str, tags: Iterable[int], limit: int
) -> list[StoredRecord]:
    """Records that have any of `tags`; their data says which, and for sure."""
    rows = await connection.fetch(
        "SELECT id, data FROM tagged_records($1, $2, $3, $4)",
        account_id,
        type_name,
        list(tags),
        limit,
    )
    return [StoredRecord(row["id"], row["data"]) for row in rows]


async def read_changes(
    connection: Connection, account_id: str, type_name: str, since: int, limit: int
) -> list[RecordChange]:
    """In the order of their places.

    A record made since then stands at its creation, whatever happened to it later: cut anywhere,
    what comes before the cut is never heard of as changed before it is heard of as made (RFC 8620
    section 5.2). What came and went since is left out.
    """
    rows = await connection.fetch(
        """
        SELECT id, created_modseq > $3 AS is_created, data IS NULL AS is_destroyed,
               CASE WHEN created_modseq > $3 THEN created_modseq ELSE modseq END AS place
        FROM records
        WHERE account_id = $1 AND type = $2 AND modseq > $3
          AND (data IS NOT NULL OR created_modseq <= $3)
        ORDER BY place LIMIT $4
        """,
        account_id,
        type_name,
        since,
        limit,
    )
    return [
        RecordChange(row["id"], row["place"], row["is_created"], row["is_destroyed"])
        for row in rows
    ]


_orders_decoder = msgspec.json.Decoder(dict[str, int])


async def write_records(
    connection: Connection, account_id: str, writes: Sequence[RecordWrite], cause: Cause
) -> Written:
    """One mutation: records, states of their types, outbox. The account's row is locked.

    `writes` has at least one, and each record once.
    """
    [row] = await connection.fetch(
        "SELECT * FROM write_records($1, $2, $3, $4, $5, $6, $7, $8)",
        account_id,
        *_columns(writes),
        msgspec.json.encode(cause),
    )
    return _written(row, account_id, writes, cause)


class Assumptions(msgspec.Struct, frozen=True, kw_only=True):
    """What must be so for a mutation that was made without the account's lock.

    The user has the role, one that may write; the records of `type` that were seen still have their
    modseqs; all of `needed`, (type, id), exist; and no record but those that are written has a tag
    of `unique_tags`.
    """

    user_id: str
    role: str
    type: str
    seen: dict[str, int]
    needed: Sequence[tuple[str, str]]
    unique_tags: Collection[int]


async def write_records_if(
    executor: Executor,
    account_id: str,
    writes: Sequence[RecordWrite],
    cause: Cause,
    assumed: Assumptions,
) -> Written | None:
    """`write_records` as a transaction of its own; None: nothing was written, something is not so.

    All is looked at under the lock that it takes.
    """
    rows = await executor.fetch(
        "SELECT * FROM write_records_if($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
        " $14, $15, $16)",
        assumed.user_id,
        assumed.role,
        assumed.type,
        list(assumed.seen),
        list(assumed.seen.values()),
        [type_name for type_name, _ in assumed.needed],
        [record_id for _, record_id in assumed.needed],
        list(assumed.unique_tags),
        account_id,
        *_columns(writes),
        msgspec.json.encode(cause),
    )
    return _written(rows[0], account_id, writes, cause) if rows else None


def _columns(writes: Sequence[RecordWrite]) -> list[list[object]]:
    return [
        [write.type for write in writes],
        [write.id for write in writes],
        [write.data for write in writes],
        # An array of arrays would have to be a rectangle; the literal of each is none.
        ["{" + ",".join(map(str, write.tags)) + "}" for write in writes],
        [write.sort for write in writes],
        [write.search for write in writes],
    ]


def _written(
    row: asyncpg.Record, account_id: str, writes: Sequence[RecordWrite], cause: Cause
) -> Written:
    first = row["last_modseq"] - len(writes) + 1
    last = {write.type: first + place for place, write in enumerate(writes)}
    entry = OutboxEntry(row["outbox_id"], account_id, _states(last), cause, row["written_at"])
    return Written(entry, _orders_decoder.decode(row["orders_before"]))


async def touch_records(
    connection: Connection, account_id: str, type_name: str, cause: Cause
) -> OutboxEntry | None:
    """Count every record of the type as changed; None when there is none. The row is locked."""
    ids = await connection.fetch(
        "SELECT id FROM records WHERE account_id = $1 AND type = $2 AND data IS NOT NULL",
        account_id,
        type_name,
    )
    if not ids:
        return None
    modseq = await connection.fetchval(
        "UPDATE accounts SET modseq = modseq + $2 WHERE id = $1 RETURNING modseq",
        account_id,
        len(ids),
    )
    await connection.executemany(
        "UPDATE records SET modseq = $4 WHERE account_id = $1 AND type = $2 AND id = $3",
        [(account_id, type_name, row["id"], modseq - place) for place, row in enumerate(ids)],
    )
    await connection.execute(
        """
        INSERT INTO type_states (account_id, type, state, ord) VALUES ($1, $2, $3, $4)
        ON CONFLICT (account_id, type) DO UPDATE SET state = excluded.state, ord = excluded.ord
        """,
        account_id,
        type_name,
        state_token(modseq),
        modseq,
    )
    return await _announce(connection, account_id, {type_name: modseq}, cause)


async def trim_history(pool: asyncpg.Pool, *, older_than: timedelta, records_max: int) -> int:
    """Forget records destroyed long ago; returns how many.

    Foo/changes then answers from the last forgotten change on only (RFC 8620 section 5.2).
    """
    trimmed = await pool.fetchval(
        """
        WITH gone AS (
            DELETE FROM records WHERE (account_id, type, id) IN (
                SELECT account_id, type, id FROM records
                WHERE destroyed_at < now() - $1::interval ORDER BY destroyed_at LIMIT $2
                FOR UPDATE SKIP LOCKED)
            RETURNING account_id, type, modseq
        ), floors AS (
            SELECT account_id, type, max(modseq) AS modseq FROM gone GROUP BY account_id, type
        ), moved AS (
            UPDATE type_states SET history_from = greatest(history_from, floors.modseq)
            FROM floors
            WHERE type_states.account_id = floors.account_id AND type_states.type = floors.type
        )
        SELECT count(*) FROM gone
        """,
        older_than,
        records_max,
    )
    return int(trimmed)


async def _announce(
    connection: Connection, account_id: str, last: dict[str, int], cause: Cause
) -> OutboxEntry:
    return await insert_outbox(connection, account_id, _states(last), cause)


def _states(last: dict[str, int]) -> dict[str, OrderedState]:
    """By the modseq of each type's last change."""
    return {name: OrderedState(state_token(modseq), modseq) for name, modseq in last.items()}
