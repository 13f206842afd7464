"""What operators ask of lanes, and do to them."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
import msgspec

from shared.store.pool import Executor


class LaneView(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription and its lane, without secrets; `state` is the first that fits."""

    id: str
    user: str
    device_client_id: str
    state: str  # unverified, paused, converged, failing, behind
    types: Sequence[str] | None
    cursor: int
    target: int
    behind_since: datetime | None
    due_at: datetime | None
    failures: int
    failing_since: datetime | None
    window_ms: int
    attempts: int
    created_at: datetime
    verification_started_at: datetime | None
    verified_at: datetime | None
    ends_at: datetime
    is_encrypted: bool
    last_outcome: str | None
    last_attempt_at: datetime | None


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One of the last requests; `sealed_answer` has its first octets."""

    at: datetime
    kind: str
    outcome: str
    status: int | None
    milliseconds: int
    cursor: int
    sealed_answer: bytes | None


class UnknownSubscriptionError(LookupError):
    def __init__(self, subscription_id: str) -> None:
        super().__init__(f"no push subscription with the id {subscription_id!r}")


_LANES = """
    SELECT s.id, users.name AS "user", device_client_id, types, cursor, target,
        behind_since, due_at, failures, failing_since, window_ms, attempts, s.created_at,
        verification_started_at, verified_at, ends_at, has_keys AS is_encrypted,
        CASE WHEN NOT is_open THEN 'unverified' WHEN paused_at IS NOT NULL THEN 'paused'
             WHEN behind_since IS NULL THEN 'converged' WHEN failures > 0 THEN 'failing'
             ELSE 'behind' END AS state
    FROM lanes JOIN push_subscriptions AS s ON s.id = lanes.subscription_id
    JOIN users ON users.id = s.user_id
"""
_LAST = """
    LEFT JOIN LATERAL (
        SELECT outcome AS last_outcome, at AS last_attempt_at FROM delivery_attempts
        WHERE subscription_id = view.id AND place >= 0  -- a replay says nothing of the lane
        ORDER BY at DESC LIMIT 1) AS last ON true
"""


async def list_lanes(
    executor: Executor, *, lanes_max: int, user: str | None = None, state: str | None = None
) -> list[LaneView]:
    """Those behind for the longest first, then the newest; `user` is an id or a name."""
    rows = await executor.fetch(
        f"""
        SELECT * FROM (
            SELECT * FROM ({_LANES}
                WHERE $2::text IS NULL OR users.id = $2 OR users.name = $2) AS lanes
            WHERE $3::text IS NULL OR state = $3
            ORDER BY behind_since NULLS LAST, created_at DESC LIMIT $1) AS view {_LAST}
        ORDER BY behind_since NULLS LAST, created_at DESC
        """,  # noqa: S608 - constants
        lanes_max,
        user,
        state,
    )
    return [_view_of(row) for row in rows]


async def read_lane(executor: Executor, subscription_id: str) -> LaneView:
    """Raises UnknownSubscriptionError."""
    row = await executor.fetchrow(
        f"SELECT * FROM ({_LANES} WHERE s.id = $1) AS view {_LAST}",  # noqa: S608 - constants
        subscription_id,
    )
    if row is None:
        raise UnknownSubscriptionError(subscription_id)
    return _view_of(row)


def _view_of(row: asyncpg.Record) -> LaneView:
    return LaneView(**{name: row[name] for name in LaneView.__struct_fields__})


async def read_attempts(executor: Executor, subscription_id: str) -> list[AttemptView]:
    """The last ones, newest first."""
    rows = await executor.fetch(
        """
        SELECT at, kind, outcome, status, milliseconds, cursor, sealed_answer
        FROM delivery_attempts WHERE subscription_id = $1 ORDER BY at DESC
        """,
        subscription_id,
    )
    return [AttemptView(**row) for row in rows]


async def read_sealed(executor: Executor, subscription_id: str) -> tuple[bytes, bytes]:
    """The sealed endpoint and its wrapped key. Raises UnknownSubscriptionError."""
    row = await executor.fetchrow(
        """
        SELECT sealed, wrapped FROM push_subscriptions
        JOIN push_subscription_keys ON subscription_id = id WHERE id = $1
        """,
        subscription_id,
    )
    if row is None:
        raise UnknownSubscriptionError(subscription_id)
    return row["sealed"], row["wrapped"]


async def pause_lane(pool: asyncpg.Pool, subscription_id: str) -> None:
    """From the next look on; what comes meanwhile is told on `resume_lane`."""
    await _change(pool, _PAUSE, subscription_id)


async def resume_lane(pool: asyncpg.Pool, subscription_id: str) -> None:
    """Also one that backs off: it is tried at once."""
    await _change(pool, _RESUME, subscription_id)


async def probe_lane(pool: asyncpg.Pool, subscription_id: str) -> None:
    """Try now what waits for its backoff; a lane that was told everything stays silent."""
    await _change(pool, _PROBE, subscription_id)


async def resync_lane(pool: asyncpg.Pool, subscription_id: str) -> None:
    """Tell it the newest state of everything, as if it had never been told.

    The target remembers the greatest sequence that it was told, so that no read is older. Where
    somebody is telling it something just now, it is told when that lease ends.
    """
    await _change(pool, _RESYNC, subscription_id)


_PAUSE = """
    UPDATE lanes SET paused_at = coalesce(paused_at, now()),
        due_at = CASE WHEN lease IS NOT NULL THEN due_at END
    WHERE subscription_id = $1 RETURNING true
"""
_RESUME = """
    UPDATE lanes SET paused_at = NULL, failures = 0, failing_since = NULL, not_before = NULL,
        due_at = CASE WHEN lease IS NOT NULL THEN due_at
                 WHEN is_open AND target > cursor THEN now() END
    WHERE subscription_id = $1 RETURNING true
"""
_PROBE = """
    UPDATE lanes SET failures = 0, failing_since = NULL, not_before = NULL,
        due_at = CASE WHEN lease IS NULL AND due_at IS NOT NULL THEN now() ELSE due_at END
    WHERE subscription_id = $1 RETURNING true
"""
_RESYNC = """
    UPDATE lanes SET cursor = 0, told = '{}', lease = NULL, failures = 0, failing_since = NULL,
        not_before = NULL, behind_since = coalesce(behind_since, now()),
        target = greatest(target, cursor, (SELECT max(value::bigint) FROM jsonb_each_text(told))),
        due_at = CASE WHEN lease IS NOT NULL THEN due_at
                 WHEN is_open AND paused_at IS NULL THEN now() END
    WHERE subscription_id = $1 RETURNING true
"""


async def _change(pool: asyncpg.Pool, statement: str, subscription_id: str) -> None:
    if await pool.fetchval(statement, subscription_id) is None:
        raise UnknownSubscriptionError(subscription_id)
