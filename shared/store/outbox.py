"""The outbox: what committed and must still be appended to the log (docs/adr/0002).

A row is inserted by the transaction of its mutation, appended after the commit by whoever saw it
commit, and by the sweeper when that process died first. Appending is idempotent, so the claim of
a sweeper only saves work.
"""

from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec

from shared.log.event import Cause, OrderedState, States
from shared.store.pool import Connection

_encoder = msgspec.json.Encoder()
_states_decoder = msgspec.json.Decoder(dict[str, OrderedState])
_cause_decoder = msgspec.json.Decoder(Cause)


class OutboxEntry(msgspec.Struct, frozen=True):
    """One committed mutation of one account; `at` is the time of its transaction.

    `id` None: it has no row of its own, as others wrote what it tells.
    """

    id: int | None
    account_id: str
    states: dict[str, OrderedState]
    cause: Cause
    at: datetime

    @property
    def at_text(self) -> str:
        """`at` as the log writes it: RFC 3339, UTC, milliseconds."""
        return self.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def insert_outbox(
    connection: Connection, account_id: str, states: States, cause: Cause
) -> OutboxEntry:
    """Call it inside the mutation's transaction; give the entry to the relay after the commit."""
    [row] = await connection.fetch(
        "INSERT INTO outbox (account_id, states, cause) VALUES ($1, $2, $3) RETURNING id, at",
        account_id,
        _encoder.encode(states),
        _encoder.encode(cause),
    )
    return OutboxEntry(row["id"], account_id, dict(states), cause, row["at"])


async def claim_left_behind(
    pool: asyncpg.Pool, *, older_than: timedelta, claim_for: timedelta, entries_max: int
) -> list[OutboxEntry]:
    """Take unpublished rows that nobody is known to be at, oldest first.

    A row is left behind when the process that committed it died or could not reach the log.
    """
    rows = await pool.fetch(
        """
        UPDATE outbox SET claimed_until = now() + $1::interval
        WHERE id IN (
            SELECT id FROM outbox
            WHERE published_at IS NULL AND at < now() - $2::interval
              AND (claimed_until IS NULL OR claimed_until < now())
            ORDER BY at LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING id, account_id, states, cause, at
        """,
        claim_for,
        older_than,
        entries_max,
    )
    return [
        OutboxEntry(
            row["id"],
            row["account_id"],
            _states_decoder.decode(row["states"]),
            _cause_decoder.decode(row["cause"]),
            row["at"],
        )
        for row in rows
    ]


async def seconds_of_oldest_unpublished(pool: asyncpg.Pool) -> float:
    """How long the change has waited that waits longest to get into the log; 0 when none does."""
    seconds: float = await pool.fetchval(
        "SELECT coalesce(extract(epoch FROM now() - min(at)), 0)::float8"
        " FROM outbox WHERE published_at IS NULL"
    )
    return seconds


async def count_unpublished(pool: asyncpg.Pool) -> tuple[int, float]:
    """How many changes wait to get into the log, and for how long the oldest has; in seconds."""
    [row] = await pool.fetch(
        "SELECT count(*), coalesce(extract(epoch FROM now() - min(at)), 0)::float8"
        " FROM outbox WHERE published_at IS NULL"
    )
    return row[0], row[1]


async def mark_published(
    pool: asyncpg.Pool, sequences: dict[int, int], *, stream: str, epoch: str
) -> None:
    """Row id -> sequence of the event that covers it; also moves the highest known sequence."""
    await pool.execute(
        """
        WITH marked AS (
            UPDATE outbox SET published_at = now(), sequence = done.sequence
            FROM unnest($1::bigint[], $2::bigint[]) AS done (id, sequence)
            WHERE outbox.id = done.id
        )
        UPDATE logs SET highest_sequence = greatest(highest_sequence, $5)
        WHERE stream = $3 AND epoch = $4
            AND compared_in = database_run()  -- else what the log has beyond would be hidden
        """,
        list(sequences),
        list(sequences.values()),
        stream,
        epoch,
        max(sequences.values()),
    )


async def forget_published(pool: asyncpg.Pool, *, older_than: timedelta) -> int:
    """Delete rows published longer ago than `older_than`; returns how many."""
    result: str = await pool.execute(
        "DELETE FROM outbox WHERE published_at < now() - $1::interval", older_than
    )
    return int(result.rsplit(" ", 1)[1])
