"""How many lanes are in which state, for the metrics."""

import msgspec

from shared.store.pool import Executor


class LaneCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Of all lanes there are; each is counted once, in the first that fits."""

    unverified: int
    paused: int
    converged: int
    failing: int
    behind: int
    oldest_seconds: float  # of those that are verified and not paused


async def count_lanes(executor: Executor) -> LaneCounts:
    [row] = await executor.fetch(
        """
        SELECT count(*) FILTER (WHERE NOT is_open) AS unverified,
            count(*) FILTER (WHERE is_open AND paused_at IS NOT NULL) AS paused,
            count(*) FILTER (WHERE is_running AND behind_since IS NULL) AS converged,
            count(*) FILTER (WHERE is_running AND behind_since IS NOT NULL AND failures > 0)
                AS failing,
            count(*) FILTER (WHERE is_running AND behind_since IS NOT NULL AND failures = 0)
                AS behind,
            coalesce(extract(epoch FROM now() - min(behind_since) FILTER (WHERE is_running)), 0)
                ::float8 AS oldest_seconds
        FROM (SELECT *, is_open AND paused_at IS NULL AS is_running FROM lanes) AS lanes
        """
    )
    return LaneCounts(**row)
