"""A database that was put back to an older copy, brought past what the log has told of it.

docs/adr/0023.
"""

from collections.abc import Mapping

import msgspec

from shared.log.event import Cause, States
from shared.store.pool import Connection


async def overtake(connection: Connection, told: Mapping[str, States], cause: Cause) -> int:
    """Give each account of which the log knows more a state that was never told; returns how many.

    `told`: what the log has last, by account. An account that does not exist is left out.
    """
    rows = [
        (account_id, type_name, state.state, state.order)
        for account_id, states in told.items()
        for type_name, state in states.items()
    ]
    if not rows:
        return 0
    columns = [list(column) for column in zip(*rows, strict=True)]
    async with connection.transaction():
        behind = [row["id"] for row in await connection.fetch(_BEHIND, *columns)]
        if behind:
            await connection.execute(_OVERTAKE, *columns, behind, msgspec.json.encode(cause))
    return len(behind)


_TOLD = """
    unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS told (account_id, type, state, ord)
"""

_BEHIND = f"""
    SELECT id FROM accounts
    WHERE removed_at IS NULL AND id IN (
        SELECT account_id FROM {_TOLD} LEFT JOIN type_states AS known USING (account_id, type)
        WHERE known.ord IS NULL OR known.ord < told.ord)
    ORDER BY id FOR UPDATE
"""  # noqa: S608 - no text from outside

# A state of our own is 's' and its order, a place in the account's count of changes: nobody who
# holds one from before may believe that it is up to date, or get the changes since, so all of the
# account's get a place behind the last one told. A state of others is theirs to make: the one that
# was told last is told again.
_OVERTAKE = f"""
    WITH told AS (
        SELECT told.account_id, type, told.state, told.ord,
            told.state = 's' || told.ord AND producer_ord IS NULL
                AND coalesce(known.state = 's' || known.ord, true) AS is_own,
            coalesce(known.ord, -1) < told.ord AS is_behind
        FROM {_TOLD} LEFT JOIN type_states AS known USING (account_id, type)
        WHERE account_id = ANY ($5::text[])
    ), counted AS (
        UPDATE accounts SET modseq = greatest(modseq, last.ord) + 1
        FROM (SELECT account_id, coalesce(max(ord) FILTER (WHERE is_own), 0) AS ord
              FROM told GROUP BY account_id) AS last
        WHERE id = last.account_id
        RETURNING id AS account_id, modseq
    ), own AS (
        SELECT account_id, type FROM type_states
        WHERE account_id = ANY ($5) AND state = 's' || ord AND producer_ord IS NULL
        UNION SELECT account_id, type FROM told WHERE is_own
    ), written AS (
        INSERT INTO type_states AS known (account_id, type, state, ord, history_from)
        SELECT account_id, type, 's' || modseq, modseq, modseq
        FROM own JOIN counted USING (account_id)
        UNION ALL
        SELECT account_id, type, state, ord + 1, 0 FROM told
        WHERE is_behind AND (account_id, type) NOT IN (SELECT account_id, type FROM own)
        ON CONFLICT (account_id, type) DO UPDATE
        SET state = excluded.state, ord = excluded.ord,
            history_from = greatest(known.history_from, excluded.history_from)
        RETURNING account_id, type, state, ord
    )
    INSERT INTO outbox (account_id, states, cause)
    SELECT account_id, jsonb_object_agg(type, jsonb_build_array(state, ord)), $6
    FROM written GROUP BY account_id
"""  # noqa: S608 - no text from outside
