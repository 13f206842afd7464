"""/set of a declared type over PostgreSQL: one transaction, one event (RFC 8620 section 5.3)."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from services.dispatcher.blob_store import usable_blobs
from services.dispatcher.methods.declaration import DeclaredType, Viewer
from services.dispatcher.methods.index import blob_ids, index_entry, indexed_values
from services.dispatcher.methods.inline_media import without_data_uris
from services.dispatcher.methods.set import Draft, Drafts
from services.dispatcher.methods.settle import (
    Known,
    Settled,
    Write,
    move_default,
    referenced_ids,
    unique_values,
)
from services.dispatcher.registry import Call
from shared.jmap.errors import MethodError
from shared.jmap.i_json import JsonObject, JsonValue, encode_json
from shared.log.event import Cause
from shared.store.blobs import insert_blob, mark_unused, mark_used
from shared.store.ids import new_id
from shared.store.outbox import OutboxEntry
from shared.store.people import VisibleAccount
from shared.store.pool import Connection
from shared.store.records import (
    AccountGoneError,
    RecordWrite,
    StoredRecord,
    Written,
    lock_account,
    read_all_records,
    read_records,
    read_tagged,
    tag,
    write_records,
)
from shared.store.sharing import existing_users, note_subscribed, put_shares, read_roles

_CONTAINERS_MAX = 10_000  # records of a type that has a default one

Committed: TypeAlias = Callable[[OutboxEntry], None]
"""Told of each mutation after its commit; must not wait."""

_decoder = msgspec.json.Decoder(JsonObject)


def decode_record(record: StoredRecord) -> JsonObject:
    return _decoder.decode(record.data)


def record_write(
    declared: DeclaredType,
    account_id: str,
    record_id: str,
    stored: JsonObject | None,
    *,
    is_create: bool = False,
) -> RecordWrite:
    if stored is None:
        return RecordWrite(type=declared.name, id=record_id, data=None)
    entry = index_entry(declared, stored)
    return RecordWrite(
        type=declared.name,
        id=record_id,
        is_create=is_create,
        data=encode_json(stored),
        tags=sorted(tag(account_id, declared.name, *value) for value in entry.values),
        sort=encode_json(entry.sort),
        search=encode_json(entry.search),
    )


async def with_stored_media(
    connection: Connection,
    account_id: str,
    declared: DeclaredType,
    drafts: Drafts,
    *,
    user_id: str,
) -> Drafts:
    """Drafts whose `data:` URIs are blobs. One that falls leaves an unused blob behind."""
    kept: list[Draft] = []
    for draft in drafts.drafts:
        told, blobs = without_data_uris(declared, draft, functools.partial(new_id, "g"))
        kept.append(told)
        for blob in blobs:
            await insert_blob(connection, account_id, user_id, blob.id, blob.type, blob.content)
    return msgspec.structs.replace(drafts, drafts=kept)


async def look_around(
    connection: Connection,
    account_id: str,
    declared: DeclaredType,
    drafts: Drafts,
    *,
    user_id: str,
    may_empty: bool,
) -> Known:
    """What `settle` has to know; `may_empty`: members of destroyed containers may go."""
    existing: dict[str, frozenset[str]] = {}
    for type_name, ids in referenced_ids(declared, drafts.drafts).items():
        found = await read_records(connection, account_id, type_name, sorted(ids)) if ids else []
        existing[type_name] = frozenset(record.id for record in found)
    holders = await _holders(connection, account_id, declared, drafts)
    filled: set[str] = set()
    if declared.container is not None and not may_empty:
        for draft in drafts.drafts:
            if draft.stored is None and await _members(
                connection, account_id, declared, draft.record_id, limit=1
            ):
                filled.add(draft.record_id)
    wanted = {blob_id for draft in drafts.drafts for blob_id in blob_ids(declared, draft.stored)}
    users, records = await _shared(connection, account_id, declared, drafts)
    return Known(
        existing=existing,
        holders=holders,
        filled=frozenset(filled),
        blobs=await usable_blobs(connection, account_id, user_id, declared, wanted),
        users=users,
        records=records,
    )


async def _shared(
    connection: Connection, account_id: str, declared: DeclaredType, drafts: Drafts
) -> tuple[frozenset[str], frozenset[str]]:
    """Which users to share with exist, and all records of the type, if any draft shares."""
    wanted = [draft.shares for draft in drafts.drafts if draft.shares is not None]
    if not wanted:
        return frozenset(), frozenset()
    records = await read_all_records(
        connection, account_id, declared.name, records_max=_CONTAINERS_MAX
    )
    users = await existing_users(connection, {user_id for one in wanted for user_id in one})
    return users, frozenset(record.id for record in records)


async def _holders(
    connection: Connection, account_id: str, declared: DeclaredType, drafts: Drafts
) -> dict[tuple[str, str], str]:
    values = unique_values(declared, drafts.drafts)
    if not values:
        return {}
    tags = {tag(account_id, declared.name, *value) for value in values}
    found = await read_tagged(connection, account_id, declared.name, tags, len(tags) + 1)
    wanted = set(values)
    return {
        value: record.id
        for record in found
        for value in indexed_values(declared, decode_record(record))
        if value in wanted
    }


async def _members(
    connection: Connection, account_id: str, declared: DeclaredType, container_id: str, limit: int
) -> list[StoredRecord]:
    container = declared.container
    assert container is not None  # noqa: S101 - callers checked
    wanted = tag(account_id, container.member_type, container.member_property, container_id)
    return await read_tagged(connection, account_id, container.member_type, [wanted], limit)


async def removed_members(
    connection: Connection,
    account_id: str,
    declared: DeclaredType,
    member: DeclaredType,
    containers: Sequence[str],
) -> list[RecordWrite]:
    """Take the members out of destroyed containers; who is left in none is destroyed."""
    container = declared.container
    assert container is not None  # noqa: S101 - callers checked
    members: dict[str, JsonObject] = {}
    for container_id in containers:
        for record in await _members(connection, account_id, declared, container_id, limit=2**31):
            members.setdefault(record.id, decode_record(record))
    writes = []
    for record_id, stored in members.items():
        left = _without(stored.get(container.member_property), containers)
        kept = {**stored, container.member_property: left} if left else None
        writes.append(record_write(member, account_id, record_id, kept))
    return writes


def _without(value: JsonValue, ids: Sequence[str]) -> JsonObject:
    if not isinstance(value, dict):
        return {}
    return {key: item for key, item in value.items() if key not in ids}


async def with_default(
    connection: Connection,
    account_id: str,
    declared: DeclaredType,
    settled: Settled,
    wanted: str | None,
) -> Settled:
    """Keep exactly one default record: `onSuccessSetIsDefault`, or the loss of the default."""
    flag = declared.default_flag
    if flag is None:
        return settled
    stored = await read_all_records(
        connection, account_id, declared.name, records_max=_CONTAINERS_MAX
    )
    records = {record.id: decode_record(record) for record in stored}
    before = dict(records)
    writes = {write.record_id: write for write in settled.writes}
    for write in settled.writes:
        if write.stored is None:
            records.pop(write.record_id, None)
        else:
            records[write.record_id] = write.stored
    changes = move_default(flag, records, wanted)
    created = {record_id: key for key, record_id in settled.created_ids.items()}
    for record_id, value in changes.items():
        told: JsonObject = {flag.property: value}
        if record_id in created:
            settled.created[created[record_id]].update(told)
        else:
            settled.updated[record_id] = {**(settled.updated.get(record_id) or {}), **told}
        writes[record_id] = Write(
            record_id=record_id,
            is_create=record_id in created,
            before=before.get(record_id),
            stored={**records[record_id], **told},
        )
    return msgspec.structs.replace(settled, writes=list(writes.values()))


async def viewer_of(
    connection: Connection, account_id: str, viewer: Viewer, declared: DeclaredType
) -> Viewer:
    """With the other users' grants, for types that show them."""
    if declared.is_viewed_as_stored:
        return viewer
    roles = await read_roles(connection, account_id)
    # The principal to which the account belongs is never in shareWith (RFC 9610 section 2).
    shares: Mapping[str, str] = {key: role for key, role in roles.items() if role != "owner"}
    owners = frozenset(key for key, role in roles.items() if role == "owner")
    return msgspec.structs.replace(viewer, shares=shares, owners=owners)


async def lock_to_write(
    connection: Connection, call: Call, account: VisibleAccount, *, may_read_only: bool = False
) -> VisibleAccount:
    """What the user may do is looked up again: what the request began with may have been taken.

    Returns the account with the role as it is now. `may_read_only`: the call changes only what is
    the user's own.
    """
    try:
        role = await lock_account(connection, account.id, user_id=call.user_id)
    except AccountGoneError as error:
        raise MethodError("accountNotFound") from error
    if role is None:
        raise MethodError("accountNotFound")
    if role == "read" and not may_read_only:
        raise MethodError("accountReadOnly")
    return msgspec.structs.replace(account, role=role)


def viewer(call: Call, account: VisibleAccount) -> Viewer:
    return Viewer(user_id=call.user_id, role=account.role, shares={}, now=call.now)


class Target(msgspec.Struct, frozen=True):
    """Where a mutation goes, and why."""

    account_id: str
    declared: DeclaredType
    cause: Cause


async def _move_blobs(connection: Connection, target: Target, writes: Sequence[Write]) -> None:
    """A blob that lost a reference gets its hour; the job finds out whether it has another."""
    before: set[str] = set()
    after: set[str] = set()
    for write in writes:
        before |= blob_ids(target.declared, write.before)
        after |= blob_ids(target.declared, write.stored)
    if before - after:
        await mark_unused(connection, target.account_id, before - after)
    if after - before:
        await mark_used(connection, target.account_id, after - before)


def settled_writes(target: Target, settled: Settled) -> list[RecordWrite]:
    return [
        record_write(
            target.declared,
            target.account_id,
            write.record_id,
            write.stored,
            is_create=write.is_create,
        )
        for write in settled.writes
    ]


async def write_settled(
    connection: Connection,
    target: Target,
    settled: Settled,
    members_of: Mapping[str, DeclaredType],
) -> Written | None:
    """None: nothing changed. `members_of`: the types of members that go with their containers."""
    declared, account_id = target.declared, target.account_id
    writes = settled_writes(target, settled)
    container = declared.container
    if container is not None and container.member_type in members_of and settled.destroyed:
        member = members_of[container.member_type]
        writes += await removed_members(connection, account_id, declared, member, settled.destroyed)
    if not writes:
        return None
    await _move_blobs(connection, target, settled.writes)
    return await write_records(connection, account_id, writes, target.cause)


async def write_sharing(connection: Connection, target: Target, settled: Settled) -> frozenset[str]:
    """The grants that follow from what was written; returns whom to tell after the commit."""
    if target.declared.sharing is None or not settled.writes:
        return frozenset()
    changed: set[str] = set()
    if settled.shares is not None:
        changed = await put_shares(connection, target.account_id, settled.shares)
    return frozenset(changed | await note_subscribed(connection, target.account_id))
