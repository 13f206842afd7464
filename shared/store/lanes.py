"""The lanes of webhooks: merged from the log, claimed by workers, settled (docs/adr/0009).

A lane's row says all there is to know of it, so any worker may go on where another one died.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import asyncpg
import msgspec

from shared.store.pool import Executor
from shared.store.waits import WaitsFor

_ATTEMPTS_KEPT = 32

_SETTLE_TRIES = 3


class Merge(msgspec.Struct, frozen=True):
    """The newest event in which a type of an account changed."""

    account_id: str
    type: str
    sequence: int


def place_of_attempt(number: int) -> int:
    """Where the attempt stands in its lane's ring; the first, a verification, is never replaced."""
    return 0 if number == 0 else 1 + (number - 1) % _ATTEMPTS_KEPT


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets a message of a subscription; the endpoint is sealed."""

    id: str
    vapid_key_id: str
    sealed: bytes
    wrapped_key: bytes
    ends_at: datetime


class ClaimedLane(msgspec.Struct, frozen=True, kw_only=True):
    """A lane under `lease`, and what may be told of it as of now.

    `accounts` are those that the user sees; `is_live`: it is verified and neither it nor its
    credential has ended.
    """

    id: str
    recipient: Recipient
    lease: str
    origin: str
    cursor: int
    told: Mapping[str, int]
    target: int
    window_ms: int
    failures: int
    failing_since: datetime | None
    behind_since: datetime | None
    attempts: int
    accounts: Sequence[str]
    types: Sequence[str] | None
    is_live: bool


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """A look's end. `must_retry`: something is left to tell, whatever came meanwhile.

    `sent_up_to`: the endpoint may know all up to there, though it did not say so.
    """

    lane_id: str
    lease: str
    cursor: int
    told: Mapping[str, int]
    must_retry: bool
    wait_seconds: float | None  # from when it is written
    waits_for: WaitsFor | None  # why not before
    window_ms: int
    failures: int
    failing_since: datetime | None
    began_at: datetime
    attempts: int
    sent_up_to: int


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One request; `cursor` is what it would have told up to, `place` is in the ring."""

    subscription_id: str
    place: int
    at: datetime
    kind: str
    outcome: str
    status: int | None
    milliseconds: int
    cursor: int
    sealed_answer: bytes | None
    retry_after_seconds: int | None = None  # what the endpoint asked for


_encoder = msgspec.json.Encoder()
_told_decoder = msgspec.json.Decoder(dict[str, int])


async def merge_into_lanes(executor: Executor, merges: Sequence[Merge]) -> int:
    """Every lane that one of them concerns gets its sequence as target; returns how many did.

    Rows are locked in one order, so that several mergers and settlers do not deadlock. What decides
    about `due_at` is in the lane's own row: a joined table would be seen as of before the lock.
    """
    columns = [(merge.account_id, merge.type, merge.sequence) for merge in merges]
    result: str = await executor.execute(
        """
        WITH moved AS (
            SELECT s.id, max(given.sequence) AS sequence
            FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (account_id, type, sequence)
            JOIN grants ON grants.account_id = given.account_id
                AND (grants.is_subscribed OR grants.role = 'owner')
            JOIN push_subscriptions AS s ON s.user_id = grants.user_id
                AND (s.types IS NULL OR given.type = ANY (s.types))
            GROUP BY s.id
        ), locked AS (
            SELECT lanes.subscription_id, moved.sequence
            FROM lanes JOIN moved ON moved.id = lanes.subscription_id
            WHERE lanes.target < moved.sequence
            ORDER BY lanes.subscription_id FOR NO KEY UPDATE OF lanes
        )
        UPDATE lanes SET target = greatest(lanes.target, locked.sequence),
            behind_since = coalesce(lanes.behind_since, now()),
            due_at = CASE WHEN lanes.is_open AND lanes.paused_at IS NULL
                     THEN coalesce(lanes.due_at, greatest(now(), lanes.not_before))
                     ELSE lanes.due_at END
        FROM locked WHERE locked.subscription_id = lanes.subscription_id
        """,
        *zip(*columns, strict=True),
    )
    return int(result.rsplit(" ", 1)[1])


async def merge_into_all_lanes(executor: Executor, sequence: int) -> int:
    """What was merged may be incomplete: every lane looks at the log up to `sequence` again."""
    result: str = await executor.execute(
        """
        WITH locked AS (
            SELECT subscription_id FROM lanes WHERE target < $1
            ORDER BY subscription_id FOR NO KEY UPDATE
        )
        UPDATE lanes SET target = greatest(target, $1),
            behind_since = coalesce(behind_since, now()),
            due_at = CASE WHEN is_open AND paused_at IS NULL
                     THEN coalesce(due_at, greatest(now(), not_before)) ELSE due_at END
        FROM locked WHERE locked.subscription_id = lanes.subscription_id
        """,
        sequence,
    )
    return int(result.rsplit(" ", 1)[1])


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker has room for.

    `is_troubled`: lanes whose last attempt failed, else the others. No origin gets more than its
    room, `origin_max` where it is not named; one without room is not even looked at.
    """

    lease: str
    lease_for: timedelta
    lanes_max: int
    is_troubled: bool
    origin_max: int
    origin_room: Mapping[str, int]


class Claimed(msgspec.Struct, frozen=True):
    """`is_all`: no other lane was due, of any origin with room."""

    lanes: Sequence[ClaimedLane]
    is_all: bool


async def claim_lanes(executor: Executor, claim: Claim) -> Claimed:
    """Take due lanes, the longest due first; until `lease_for` has passed they are not due.

    Behind an origin with many that wait there may be others: who did not get all asks again, when
    that origin has no more room.
    """
    full = [origin for origin, room in claim.origin_room.items() if room <= 0]
    rows = await executor.fetch(
        _CLAIM_TROUBLED if claim.is_troubled else _CLAIM_HEALTHY,
        claim.lease,
        claim.lease_for,
        claim.lanes_max,
        full,
        claim.origin_max,
        list(claim.origin_room),
        list(claim.origin_room.values()),
    )
    lanes = [
        ClaimedLane(
            id=row["id"],
            recipient=_recipient(row),
            lease=claim.lease,
            origin=row["origin"],
            cursor=row["cursor"],
            told=_told_decoder.decode(row["told"]),
            target=row["target"],
            window_ms=row["window_ms"],
            failures=row["failures"],
            failing_since=row["failing_since"],
            behind_since=row["behind_since"],
            attempts=row["attempts"],
            accounts=row["accounts"],
            types=row["types"],
            is_live=row["is_live"],
        )
        for row in rows
    ]
    return Claimed(lanes, is_all=not rows or rows[0]["candidates"] < claim.lanes_max)


_CLAIM = """
    WITH candidates AS (
        SELECT subscription_id, origin, due_at FROM lanes
        WHERE due_at <= now() AND failures {failures} AND paused_at IS NULL
            AND origin <> ALL ($4::text[])
        ORDER BY due_at LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
    ), ranked AS (
        SELECT subscription_id, coalesce(busy.room, $5) AS room,
            row_number() OVER (PARTITION BY candidates.origin ORDER BY due_at) AS place
        FROM candidates
        LEFT JOIN unnest($6::text[], $7::int[]) AS busy (origin, room)
            ON busy.origin = candidates.origin
    ), claimed AS (
        UPDATE lanes SET due_at = now() + $2::interval, lease = $1
        FROM ranked WHERE ranked.subscription_id = lanes.subscription_id AND place <= room
        RETURNING lanes.*
    )
    SELECT (SELECT count(*) FROM candidates) AS candidates,
        s.id, claimed.origin, cursor, told, target, window_ms, failures,
        failing_since, behind_since, attempts, s.types, s.ends_at, s.vapid_key_id, s.sealed,
        k.wrapped,
        ARRAY(SELECT account_id FROM grants WHERE grants.user_id = s.user_id
              AND (is_subscribed OR role = 'owner')) AS accounts,
        s.verified_at IS NOT NULL AND s.ends_at > now() AND (s.token_id IS NULL OR EXISTS (
            SELECT FROM tokens WHERE tokens.id = s.token_id AND revoked_at IS NULL
                AND (tokens.expires_at IS NULL OR tokens.expires_at > now()))) AS is_live
    FROM claimed
    JOIN push_subscriptions AS s ON s.id = claimed.subscription_id
    JOIN push_subscription_keys AS k ON k.subscription_id = claimed.subscription_id
"""
_CLAIM_HEALTHY = _CLAIM.format(failures="= 0")
_CLAIM_TROUBLED = _CLAIM.format(failures="> 0")


async def settle_lanes(pool: asyncpg.Pool, settlements: Sequence[Settlement]) -> None:
    """End looks; one whose lease was taken over meanwhile changes nothing.

    A lane of which something came during the look, or of which something is left, is due again.
    """
    await pool.execute(_SETTLE, _encoder.encode(settlements))


# Many rows cross as JSON: arrays of columns take three times as long to encode, and each connection
# has to ask for their types.
_SETTLE = """
    WITH settled AS (
        SELECT * FROM json_to_recordset($1::json) AS given (lane_id text, lease text, cursor bigint,
            told jsonb, must_retry bool, wait_seconds float8, waits_for text, window_ms int,
            failures int, failing_since timestamptz, began_at timestamptz, attempts bigint,
            sent_up_to bigint)
    ), locked AS (
        SELECT settled.*, now() + make_interval(secs => wait_seconds) AS not_before FROM lanes
        JOIN settled ON settled.lane_id = lanes.subscription_id AND settled.lease = lanes.lease
        ORDER BY lanes.subscription_id FOR NO KEY UPDATE OF lanes
    )
    UPDATE lanes SET cursor = locked.cursor, told = locked.told, lease = NULL,
        not_before = locked.not_before, waits_for = locked.waits_for,
        window_ms = locked.window_ms,
        failures = locked.failures, failing_since = locked.failing_since,
        attempts = locked.attempts, target = greatest(lanes.target, locked.sent_up_to),
        behind_since = CASE
            WHEN locked.must_retry THEN coalesce(lanes.behind_since, locked.began_at)
            WHEN lanes.target > locked.cursor THEN locked.began_at END,
        due_at = CASE
            WHEN NOT lanes.is_open OR lanes.paused_at IS NOT NULL THEN NULL
            WHEN locked.must_retry OR lanes.target > locked.cursor
            THEN greatest(now(), locked.not_before) END
    FROM locked
    WHERE lanes.subscription_id = locked.lane_id AND lanes.lease = locked.lease
"""


async def write_attempts(pool: asyncpg.Pool, attempts: Sequence[Attempt]) -> None:
    """Into the rings of their lanes; those of subscriptions that are gone are dropped."""
    newest = {(one.subscription_id, one.place): one for one in attempts}
    rows = _encoder.encode([one for _, one in sorted(newest.items())])
    for last in range(_SETTLE_TRIES):
        try:
            await pool.execute(_ATTEMPTS, rows)
        except asyncpg.ForeignKeyViolationError:  # one was destroyed during the statement
            if last == _SETTLE_TRIES - 1:
                raise
        else:
            return


_ATTEMPTS = """
    INSERT INTO delivery_attempts (subscription_id, place, at, kind, outcome, status, milliseconds,
        cursor, sealed_answer, retry_after_seconds)
    SELECT subscription_id, place, at, kind, outcome, status, milliseconds, cursor,
        decode(given.sealed_answer, 'base64'), retry_after_seconds
    FROM json_to_recordset($1::json) AS given (subscription_id text, place int, at timestamptz,
        kind text, outcome text, status int, milliseconds int, cursor bigint, sealed_answer text,
        retry_after_seconds int)
    JOIN push_subscriptions ON push_subscriptions.id = given.subscription_id
    ORDER BY given.subscription_id, given.place
    ON CONFLICT (subscription_id, place) DO UPDATE SET at = excluded.at, kind = excluded.kind,
        outcome = excluded.outcome, status = excluded.status,
        milliseconds = excluded.milliseconds, cursor = excluded.cursor,
        sealed_answer = excluded.sealed_answer, retry_after_seconds = excluded.retry_after_seconds
"""


async def claim_unverified(executor: Executor, subscriptions_max: int) -> list[Recipient]:
    """Take the oldest whose PushVerification nobody has begun; nobody ever gets them again."""
    rows = await executor.fetch(
        """
        WITH begun AS (
            UPDATE push_subscriptions SET verification_started_at = now()
            WHERE id IN (
                SELECT id FROM push_subscriptions
                WHERE verification_started_at IS NULL AND ends_at > now()
                ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED)
            RETURNING id, vapid_key_id, sealed, ends_at
        )
        SELECT begun.*, wrapped FROM begun
        JOIN push_subscription_keys ON subscription_id = begun.id
        """,
        subscriptions_max,
    )
    return [_recipient(row) for row in rows]


def _recipient(row: asyncpg.Record) -> Recipient:
    return Recipient(
        id=row["id"],
        vapid_key_id=row["vapid_key_id"],
        sealed=row["sealed"],
        wrapped_key=row["wrapped"],
        ends_at=row["ends_at"],
    )
