"""With whom an account is shared, and who of them follows it (RFC 9610 section 2, RFC 9670)."""

from collections.abc import Mapping

import msgspec

from shared.jmap.i_json import JsonObject
from shared.jmap.subscription import is_subscribed
from shared.store.pool import Connection
from shared.store.records import Role, read_all_records

SHARED_TYPE = "AddressBook"
"""Its records show the grants of their account (RFC 9610 section 2, shareWith)."""

_RECORDS_MAX = 10_000

_decoder = msgspec.json.Decoder(JsonObject)


async def read_roles(connection: Connection, account_id: str) -> dict[str, Role]:
    """User -> role, of all who hold a grant."""
    rows = await connection.fetch(
        "SELECT user_id, role FROM grants WHERE account_id = $1 ORDER BY user_id", account_id
    )
    return {row["user_id"]: row["role"] for row in rows}


async def put_shares(
    connection: Connection, account_id: str, shares: Mapping[str, str]
) -> set[str]:
    """Make these the grants of all but the owners. The account's row is locked.

    Returns the users whose grant changed, for control messages after the commit.
    """
    rows = await connection.fetch(
        """
        WITH wanted AS (
            SELECT * FROM unnest($2::text[], $3::text[]) AS wanted (user_id, role)
        ), gone AS (
            DELETE FROM grants WHERE account_id = $1 AND role <> 'owner' AND user_id <> ALL ($2)
            RETURNING user_id
        ), put AS (
            INSERT INTO grants (account_id, user_id, role) SELECT $1, user_id, role FROM wanted
            ON CONFLICT (user_id, account_id) DO UPDATE SET role = excluded.role
                WHERE grants.role NOT IN ('owner', excluded.role)
            RETURNING user_id
        )
        SELECT user_id FROM gone UNION SELECT user_id FROM put
        """,
        account_id,
        list(shares),
        list(shares.values()),
    )
    return {row["user_id"] for row in rows}


async def note_subscribed(connection: Connection, account_id: str) -> set[str]:
    """Write down who is subscribed to anything, after the records or the grants changed.

    Returns the users for whom it changed, for control messages. The account's row is locked.
    """
    records = await read_all_records(connection, account_id, SHARED_TYPE, records_max=_RECORDS_MAX)
    books = [_decoder.decode(record.data) for record in records]
    subscribed = [
        user_id
        for user_id in await read_roles(connection, account_id)
        if not books or any(is_subscribed(book, user_id) for book in books)
    ]
    rows = await connection.fetch(
        """
        UPDATE grants SET is_subscribed = NOT is_subscribed
        WHERE account_id = $1 AND is_subscribed <> (user_id = ANY ($2::text[]))
        RETURNING user_id
        """,
        account_id,
        subscribed,
    )
    return {row["user_id"] for row in rows}


async def existing_users(connection: Connection, user_ids: set[str]) -> frozenset[str]:
    """Those of `user_ids`, which are Ids, that there are."""
    rows = await connection.fetch("SELECT id FROM users WHERE id = ANY ($1)", list(user_ids))
    return frozenset(row["id"] for row in rows)
