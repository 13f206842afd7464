"""What PostgreSQL knows of a stream of the log, and the states that rebuild it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from shared.log.event import OrderedState
from shared.log.verdict import Known
from shared.store.pool import Connection, Executor

_LOCK = 0x71D1_10C5  # pg_advisory_lock: one rebuilder at a time


async def read_log(executor: Executor, stream: str) -> Known | None:
    row = await executor.fetchrow(
        """
        SELECT epoch, highest_sequence, is_complete,
            compared_in IS NOT DISTINCT FROM database_run() AS is_compared
        FROM logs WHERE stream = $1
        """,
        stream,
    )
    return None if row is None else Known(*row)


async def start_epoch(connection: Connection, stream: str, *, epoch: str, sequence: int) -> None:
    """Make the cursors of earlier epochs foreign; the first event will come after `sequence`."""
    await connection.execute(
        """
        INSERT INTO logs (stream, epoch, highest_sequence, is_complete, compared_in)
        VALUES ($1, $2, $3, false, database_run())
        ON CONFLICT (stream) DO UPDATE
        SET epoch = $2, highest_sequence = $3, is_complete = false, compared_in = database_run()
        """,
        stream,
        epoch,
        sequence,
    )


async def complete_epoch(connection: Connection, stream: str, epoch: str) -> None:
    await connection.execute(
        "UPDATE logs SET is_complete = true WHERE stream = $1 AND epoch = $2", stream, epoch
    )


async def note_compared(connection: Connection, stream: str, *, epoch: str, sequence: int) -> None:
    """What the log has up to `sequence` is known here, in this run of this database."""
    await connection.execute(
        """
        UPDATE logs
        SET compared_in = database_run(), highest_sequence = greatest(highest_sequence, $3)
        WHERE stream = $1 AND epoch = $2
        """,
        stream,
        epoch,
        sequence,
    )


async def raise_highest_sequence(
    pool: asyncpg.Pool, stream: str, *, epoch: str, sequence: int
) -> None:
    """Record that `sequence` was seen in `epoch`."""
    await pool.execute(
        "UPDATE logs SET highest_sequence = $3"
        " WHERE stream = $1 AND epoch = $2 AND highest_sequence < $3",
        stream,
        epoch,
        sequence,
    )


@asynccontextmanager
async def rebuild_lock(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """The connection that alone may rebuild; the lock ends with it, also when the process dies."""
    async with pool.acquire() as connection:
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            yield connection
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
        except BaseException:
            connection.terminate()  # rather than give it back to the pool with the lock
            raise


async def account_states(
    pool: asyncpg.Pool, *, batch: int
) -> AsyncIterator[list[tuple[str, dict[str, OrderedState]]]]:
    """All accounts with their states, by account id, in lists of at most `batch` accounts."""
    last = ""
    while True:
        rows = await pool.fetch(
            """
            SELECT account_id, type, state, ord FROM type_states
            WHERE account_id IN (
                SELECT DISTINCT account_id FROM type_states
                WHERE account_id > $1 ORDER BY account_id LIMIT $2)
            ORDER BY account_id
            """,
            last,
            batch,
        )
        if not rows:
            return
        states: dict[str, dict[str, OrderedState]] = {}
        for account_id, type_name, state, order in rows:
            states.setdefault(account_id, {})[type_name] = OrderedState(state, order)
        yield list(states.items())
        last = rows[-1]["account_id"]
