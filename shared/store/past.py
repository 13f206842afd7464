"""The past of rights and subscriptions, which triggers write for `tidings explain` (adr 18)."""

from datetime import timedelta

import asyncpg


async def forget_past(pool: asyncpg.Pool, *, older_than: timedelta, rows_max: int) -> int:
    """Delete the oldest of what is older, at most `rows_max` rows of a table; returns how many."""
    forgotten = 0
    for statement in (_GRANTS, _ENDED):
        result: str = await pool.execute(statement, older_than, rows_max)
        forgotten += int(result.rsplit(" ", 1)[1])
    return forgotten


_GRANTS = """
    DELETE FROM grant_changes WHERE id IN (
        SELECT id FROM grant_changes WHERE at < now() - $1::interval
        LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
_ENDED = """
    DELETE FROM ended_push_subscriptions WHERE id IN (
        SELECT id FROM ended_push_subscriptions WHERE ended_at < now() - $1::interval
        LIMIT $2 FOR UPDATE SKIP LOCKED)
"""
