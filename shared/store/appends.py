"""States of other services' types: kept, put into the outbox, and each request once per key.

Locks are taken in one order, so that two transactions never wait for each other: accounts (shared,
against their removal), keys, states. docs/adr/0011.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Literal, TypeAlias

import asyncpg
import msgspec

from shared.log.event import Cause, GivenState, OrderedState
from shared.store.outbox import OutboxEntry
from shared.store.pool import Connection

Refusal: TypeAlias = Literal["accountNotFound", "overQuota"]

TYPES_OF_ACCOUNT_MAX = 128
"""Each event carries all states of its account; two dispatchers at once may pass it by a little."""

Writes: TypeAlias = Mapping[str, Mapping[str, GivenState]]
"""Account -> type -> state."""


class KeyedAnswer(msgspec.Struct, frozen=True):
    """What is kept of a request; `cursor` is None until the log has acknowledged all of it."""

    digest: bytes
    not_appended: dict[str, Refusal]
    cursor: str | None


class KeyClaim(msgspec.Struct, frozen=True):
    """`key` is (user id, Idempotency-Key)."""

    key: tuple[str, str]
    digest: bytes
    not_appended: Mapping[str, Refusal]


_refusals_decoder = msgspec.json.Decoder(dict[str, Refusal])
_states_decoder = msgspec.json.Decoder(dict[str, OrderedState])


async def hold_accounts(
    connection: Connection, account_ids: Collection[str]
) -> dict[str, frozenset[str]]:
    """Those that exist, with the types that they have; they stay until the transaction ends."""
    rows = await connection.fetch(
        """
        SELECT id, ARRAY(SELECT type FROM type_states WHERE account_id = accounts.id) AS types
        FROM accounts WHERE id = ANY($1::text[]) AND removed_at IS NULL
        ORDER BY id FOR KEY SHARE
        """,
        list(account_ids),
    )
    return {row["id"]: frozenset(row["types"]) for row in rows}


async def claim_keys(
    connection: Connection, claims: Sequence[KeyClaim]
) -> dict[tuple[str, str], KeyedAnswer | None]:
    """By key: None where it is the caller's now, else what is kept of who had it before.

    Waits for a transaction that is at one of them. A key that ended in between is in neither.
    """
    ordered = sorted(claims, key=lambda claim: claim.key)
    columns = [
        [claim.key[0] for claim in ordered],
        [claim.key[1] for claim in ordered],
    ]
    rows = await connection.fetch(
        """
        INSERT INTO append_keys (user_id, key, digest, not_appended)
        SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::jsonb[])
        ON CONFLICT DO NOTHING RETURNING user_id, key
        """,
        *columns,
        [claim.digest for claim in ordered],
        [msgspec.json.encode(claim.not_appended) for claim in ordered],
    )
    found: dict[tuple[str, str], KeyedAnswer | None] = {tuple(row): None for row in rows}
    if len(found) < len(ordered):
        kept = await connection.fetch(
            """
            SELECT user_id, key, digest, not_appended, cursor FROM append_keys
            WHERE (user_id, key) IN (SELECT * FROM unnest($1::text[], $2::text[]))
            """,
            *columns,
        )
        for user_id, key, digest, not_appended, cursor in kept:
            answer = KeyedAnswer(digest, _refusals_decoder.decode(not_appended), cursor)
            found.setdefault((user_id, key), answer)
    return found


async def write_states(
    connection: Connection, writes: Writes, causes: Mapping[str, Cause]
) -> list[OutboxEntry]:
    """Keep each state that is newer than the one there; one outbox entry for each account moved.

    With an order, newer is what has a greater one than the greatest given before; without, all is.
    `causes` are by account.
    """
    rows = [
        (account_id, type_name, given.state, given.order)
        for account_id, states in sorted(writes.items())
        for type_name, given in sorted(states.items())
    ]
    told = await connection.fetch(
        _WRITE,
        *zip(*rows, strict=True),
        list(causes),
        [msgspec.json.encode(cause) for cause in causes.values()],
    )
    return [
        OutboxEntry(
            row["id"],
            row["account_id"],
            _states_decoder.decode(row["states"]),
            causes[row["account_id"]],
            row["at"],
        )
        for row in told
    ]


_WRITE = """
    WITH written AS (
        INSERT INTO type_states AS known (account_id, type, state, ord, producer_ord)
        SELECT account_id, type, state, 1, producer_ord
        FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
             AS given (account_id, type, state, producer_ord)
        ON CONFLICT (account_id, type) DO UPDATE
        SET state = excluded.state, ord = known.ord + 1,
            producer_ord = coalesce(excluded.producer_ord, known.producer_ord)
        WHERE excluded.producer_ord IS NULL OR known.producer_ord IS NULL
           OR excluded.producer_ord > known.producer_ord
        RETURNING account_id, type, state, ord
    )
    INSERT INTO outbox (account_id, states, cause)
    SELECT account_id, jsonb_object_agg(type, jsonb_build_array(state, ord)), cause
    FROM written JOIN unnest($5::text[], $6::jsonb[]) AS of (account_id, cause) USING (account_id)
    GROUP BY account_id, cause
    RETURNING id, account_id, states, at
"""


async def read_states(
    connection: Connection, wanted: Mapping[str, Collection[str]]
) -> dict[str, dict[str, OrderedState]]:
    """Account -> type -> state as it is now; what does not exist is left out."""
    pairs = [(account_id, type_name) for account_id, types in wanted.items() for type_name in types]
    rows = await connection.fetch(
        """
        SELECT account_id, type, state, ord FROM type_states
        WHERE (account_id, type) IN (SELECT * FROM unnest($1::text[], $2::text[]))
        """,
        [account_id for account_id, _ in pairs],
        [type_name for _, type_name in pairs],
    )
    states: dict[str, dict[str, OrderedState]] = {}
    for account_id, type_name, state, order in rows:
        states.setdefault(account_id, {})[type_name] = OrderedState(state, order)
    return states


async def settle_keys(
    pool: asyncpg.Pool, cursors: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str]:
    """Keep each key's cursor, unless it has one; returns those that they have from now on.

    It does not wait for the disk: whoever asks for one that was lost finds another that is as good.
    """
    rows = await pool.fetch(
        """
        UPDATE append_keys SET cursor = coalesce(append_keys.cursor, given.cursor)
        FROM (SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
              AS given (user_id, key, cursor)) AS given
        WHERE append_keys.user_id = given.user_id AND append_keys.key = given.key
        RETURNING append_keys.user_id, append_keys.key, append_keys.cursor,
                  set_config('synchronous_commit', 'off', true)
        """,
        [user_id for user_id, _ in cursors],
        [key for _, key in cursors],
        list(cursors.values()),
    )
    return {(user_id, key): cursor for user_id, key, cursor, _ in rows}


async def forget_keys(pool: asyncpg.Pool, *, older_than: timedelta, keys_max: int) -> int:
    """Returns how many."""
    result: str = await pool.execute(
        """
        DELETE FROM append_keys WHERE (user_id, key) IN (
            SELECT user_id, key FROM append_keys WHERE at < now() - $1::interval
            ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)
        """,
        older_than,
        keys_max,
    )
    return int(result.rsplit(" ", 1)[1])
