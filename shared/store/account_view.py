"""One account as operators look at it."""

from collections.abc import Sequence

import asyncpg
import msgspec

from shared.store.people import UnknownNameError


class GrantView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who sees the account; `user` is an id. `is_told`: of its changes, by RFC 9670 section 1.4."""

    user: str
    user_name: str
    role: str
    is_told: bool


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """`states`: type -> state."""

    name: str
    states: dict[str, str]
    grants: Sequence[GrantView]


async def read_account(pool: asyncpg.Pool, account_id: str) -> AccountView:
    """Raises UnknownNameError."""
    async with pool.acquire() as connection:
        name = await connection.fetchval(
            "SELECT name FROM accounts WHERE id = $1 AND removed_at IS NULL", account_id
        )
        if name is None:
            raise UnknownNameError("account", account_id)
        states = await connection.fetch(
            "SELECT type, state FROM type_states WHERE account_id = $1 ORDER BY type", account_id
        )
        grants = await connection.fetch(
            """
            SELECT users.id AS user, users.name AS user_name, role,
                   is_subscribed OR role = 'owner' AS is_told
            FROM grants JOIN users ON users.id = user_id
            WHERE account_id = $1 ORDER BY users.name
            """,
            account_id,
        )
    return AccountView(
        name=name,
        states={row["type"]: row["state"] for row in states},
        grants=[GrantView(**row) for row in grants],
    )
