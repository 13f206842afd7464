"""Users, accounts and grants (RFC 8620 section 1.6.2)."""

from collections.abc import Sequence

import asyncpg
import msgspec

from shared.jmap.i_json import JsonObject
from shared.log.event import Cause
from shared.store.ids import new_id
from shared.store.outbox import OutboxEntry
from shared.store.pool import Connection, Executor
from shared.store.records import (
    RecordWrite,
    Role,
    lock_account,
    touch_records,
    write_records,
)
from shared.store.sharing import SHARED_TYPE, note_subscribed


class NameTakenError(ValueError):
    """`kind` is user or account."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is a {kind} {name!r} already")
        self.kind = kind
        self.name = name


class UnknownNameError(LookupError):
    """`kind` is user, account or grant; `name` may be an id."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name!r}")
        self.kind = kind
        self.name = name


class OwnerNeededError(ValueError):
    """A personal account keeps its owner."""


class VisibleAccount(msgspec.Struct, frozen=True, kw_only=True):
    """An account as one user may use it."""

    id: str
    name: str
    is_personal: bool  # of this user
    role: Role
    owner_id: str | None = None  # a user, this one if it is an owner; an account may have none
    is_subscribed: bool = True

    @property
    def is_followed(self) -> bool:
        """Whether the session has it, and its changes are pushed (RFC 9670 section 1.4)."""
        return self.is_subscribed or self.role == "owner"


async def visible_accounts(pool: asyncpg.Pool, user_id: str) -> list[VisibleAccount]:
    """What the user holds a grant for; the personal account first."""
    rows = await pool.fetch(
        """
        SELECT accounts.id, accounts.name, grants.role, grants.is_subscribed,
               accounts.is_personal AND grants.role = 'owner' AS is_personal,
               (SELECT user_id FROM grants AS own WHERE own.account_id = accounts.id
                AND own.role = 'owner' ORDER BY user_id <> $1, user_id LIMIT 1) AS owner_id
        FROM grants JOIN accounts ON accounts.id = grants.account_id
        WHERE grants.user_id = $1
        ORDER BY is_personal DESC, accounts.created_at, accounts.id
        """,
        user_id,
    )
    return [
        VisibleAccount(
            id=row["id"],
            name=row["name"],
            is_personal=row["is_personal"],
            role=row["role"],
            owner_id=row["owner_id"],
            is_subscribed=row["is_subscribed"],
        )
        for row in rows
    ]


async def find_user(pool: asyncpg.Pool, name: str) -> str | None:
    """The id of the user of that name."""
    user_id: str | None = await pool.fetchval("SELECT id FROM users WHERE name = $1", name)
    return user_id


async def find_account(executor: Executor, account: str) -> str:
    """The id of an account that is given by id or name. Raises UnknownNameError."""
    ids = [
        row["id"]
        for row in await executor.fetch(
            """
            SELECT id FROM accounts WHERE (id = $1 OR name = $1) AND removed_at IS NULL
            ORDER BY id = $1 DESC LIMIT 2
            """,
            account,
        )
    ]
    if not ids or (len(ids) > 1 and ids[0] != account):
        raise UnknownNameError("account" if not ids else "single account", account)
    return str(ids[0])


async def names_of_accounts(executor: Executor, account_ids: Sequence[str]) -> dict[str, str]:
    """Id -> name, of those that there are."""
    rows = await executor.fetch(
        "SELECT id, name FROM accounts WHERE id = ANY($1::text[])", account_ids
    )
    return {row["id"]: row["name"] for row in rows}


async def names_of_user(executor: Executor, user: str) -> frozenset[str]:
    """Id and name of the user that is given by one of them, and what was given."""
    rows = await executor.fetch("SELECT id, name FROM users WHERE id = $1 OR name = $1", user)
    return frozenset({user, *(row["id"] for row in rows), *(row["name"] for row in rows)})


async def add_user(pool: asyncpg.Pool, name: str) -> tuple[str, str]:
    """A user with a personal account; returns both ids. Raises NameTakenError."""
    user_id = new_id("u")
    async with pool.acquire() as connection, connection.transaction():
        try:
            await connection.execute("INSERT INTO users (id, name) VALUES ($1, $2)", user_id, name)
        except asyncpg.UniqueViolationError as error:
            raise NameTakenError("user", name) from error
        account_id = await _add_account(connection, name, is_personal=True)
        await _put_grant(connection, account_id, user_id, "owner")
    return user_id, account_id


async def remove_user(pool: asyncpg.Pool, user_id: str) -> None:
    """With tokens, push subscriptions and grants; what it owned is removed for itself, before."""
    await pool.execute("DELETE FROM users WHERE id = $1", user_id)


async def add_account(pool: asyncpg.Pool, name: str) -> str:
    """A shared account, which nobody sees before `add_grant`; returns its id."""
    async with pool.acquire() as connection, connection.transaction():
        return await _add_account(connection, name, is_personal=False)


async def add_grant(pool: asyncpg.Pool, account: str, user: str, role: Role) -> str:
    """`account` is an id or a unique name. Returns the user's id, for a control message.

    Raises UnknownNameError.
    """
    async with pool.acquire() as connection, connection.transaction():
        account_id, user_id = await _ids(connection, account, user)
        await lock_account(connection, account_id)
        await _require_owner(connection, account_id, user_id, role)
        await _put_grant(connection, account_id, user_id, role)
        await _show_grants(connection, account_id, "tidings grant add")
    return user_id


async def remove_grant(pool: asyncpg.Pool, account: str, user: str) -> str:
    """Returns the user's id, for a control message. Raises UnknownNameError, OwnerNeededError."""
    async with pool.acquire() as connection, connection.transaction():
        account_id, user_id = await _ids(connection, account, user)
        await lock_account(connection, account_id)
        await _require_owner(connection, account_id, user_id, None)
        done = await connection.fetchval(
            "DELETE FROM grants WHERE account_id = $1 AND user_id = $2 RETURNING true",
            account_id,
            user_id,
        )
        if done is None:
            raise UnknownNameError("grant", f"{user} on {account}")
        await _show_grants(connection, account_id, "tidings grant remove")
    return user_id


async def _add_account(connection: Connection, name: str, *, is_personal: bool) -> str:
    """With a default address book, which clients expect to find (RFC 9610 section 2)."""
    account_id = new_id("a")
    await connection.execute(
        "INSERT INTO accounts (id, name, is_personal) VALUES ($1, $2, $3)",
        account_id,
        name,
        is_personal,
    )
    address_book: JsonObject = {
        "name": "Contacts",
        "description": None,
        "sortOrder": 0,
        "isDefault": True,
        "isSubscribed": {},
    }
    await write_records(
        connection,
        account_id,
        [
            RecordWrite(
                type=SHARED_TYPE,
                id=new_id("b"),
                is_create=True,
                data=msgspec.json.encode(address_book),
            )
        ],
        Cause(method="tidings account add"),
    )
    return account_id


async def _put_grant(connection: Connection, account_id: str, user_id: str, role: Role) -> None:
    await connection.execute(
        """
        INSERT INTO grants (account_id, user_id, role) VALUES ($1, $2, $3)
        ON CONFLICT (user_id, account_id) DO UPDATE SET role = excluded.role
        """,
        account_id,
        user_id,
        role,
    )


async def _show_grants(connection: Connection, account_id: str, method: str) -> OutboxEntry | None:
    """The records that show grants have changed, so their clients must hear of it."""
    await note_subscribed(connection, account_id)
    return await touch_records(connection, account_id, SHARED_TYPE, Cause(method=method))


async def _ids(connection: Connection, account: str, user: str) -> tuple[str, str]:
    user_id = await connection.fetchval(
        "SELECT id FROM users WHERE id = $1 OR name = $1 ORDER BY id = $1 DESC LIMIT 1", user
    )
    if user_id is None:
        raise UnknownNameError("user", user)
    return await find_account(connection, account), user_id


async def _require_owner(
    connection: Connection, account_id: str, user_id: str, role: Role | None
) -> None:
    owns = await connection.fetchval(
        """
        SELECT true FROM accounts JOIN grants ON grants.account_id = accounts.id
        WHERE accounts.id = $1 AND is_personal AND user_id = $2 AND grants.role = 'owner'
        """,
        account_id,
        user_id,
    )
    if owns and role != "owner":
        raise OwnerNeededError("A personal account keeps its owner's grant.")
