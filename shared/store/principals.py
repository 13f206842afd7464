"""Users as others may see them (RFC 9670 section 2)."""

from collections.abc import Iterable

import msgspec

from shared.store.pool import Connection

_ACQUAINTED_MAX = 10_000


class NamedUser(msgspec.Struct, frozen=True):
    id: str
    name: str


async def acquainted_users(connection: Connection, user_id: str) -> list[NamedUser]:
    """The user, and those who hold a grant for an account that the user holds one for too."""
    rows = await connection.fetch(
        """
        SELECT id, name FROM users
        WHERE id = $1 OR id IN (
            SELECT theirs.user_id FROM grants AS own JOIN grants AS theirs USING (account_id)
            WHERE own.user_id = $1)
        ORDER BY id <> $1, id LIMIT $2
        """,
        user_id,
        _ACQUAINTED_MAX,
    )
    return [NamedUser(row["id"], row["name"]) for row in rows]


async def users_of(
    connection: Connection, *, ids: Iterable[str] = (), names: Iterable[str] = ()
) -> list[NamedUser]:
    """Those of these ids, and those who are called exactly so."""
    rows = await connection.fetch(
        "SELECT id, name FROM users WHERE id = ANY ($1) OR name = ANY ($2)",
        list(ids),
        [name for name in names if "\0" not in name],  # PostgreSQL refuses it, and nobody has it
    )
    return [NamedUser(row["id"], row["name"]) for row in rows]
