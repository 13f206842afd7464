"""/set in one statement, for calls that are plain: assume, settle, write if it was so.

The usual way asks the database again and again while it holds the account's lock, and all other
writers of the account wait. Most calls create or change records that stand alone; for these, what
is asked is what one expects: the user may still write, the address book is still there, nobody
else has the uid. So the outcome is worked out without the lock, and one statement takes the lock,
looks whether all of that is so, and writes. If it is not, nothing was written, and the usual way
decides what becomes of the call; it alone refuses anything.
"""

import functools

import asyncpg

from services.dispatcher.methods.arguments import SetArguments
from services.dispatcher.methods.declaration import DeclaredType, Viewer
from services.dispatcher.methods.index import blob_ids
from services.dispatcher.methods.inline_media import without_data_uris
from services.dispatcher.methods.set import Draft, Drafter, wanted_ids
from services.dispatcher.methods.settle import (
    Known,
    Settled,
    referenced_ids,
    settle,
    unique_values,
)
from services.dispatcher.mutation import Target, decode_record, settled_writes
from services.dispatcher.registry import Call
from shared.store.ids import new_id
from shared.store.records import (
    Assumptions,
    Written,
    read_records_seen,
    tag,
    write_records_if,
)

_WANTED_MAX = 50  # records; of more the usual way alone bounds the octets


async def set_quickly(
    pool: asyncpg.Pool, target: Target, call: Call, arguments: SetArguments, viewer: Viewer
) -> tuple[Settled, Written] | None:
    """None: nothing happened, and the usual way must be gone."""
    declared = target.declared
    if not _is_plain(declared, arguments):
        return None
    wanted = wanted_ids(arguments, call.created_ids)
    if len(wanted) > _WANTED_MAX:
        return None
    found, seen = (
        await read_records_seen(pool, target.account_id, declared.name, wanted)
        if wanted
        else ([], {})
    )
    drafts = Drafter(
        declared,
        {record.id: decode_record(record) for record in found},
        viewer=viewer,
        created_ids=call.created_ids,
        new_id=functools.partial(new_id, declared.id_prefix),
    ).draft(arguments)
    if any(_has_blobs(declared, draft) for draft in drafts.drafts):
        return None
    needed = referenced_ids(declared, drafts.drafts)
    existing = {type_name: frozenset(ids) for type_name, ids in needed.items()}
    settled = settle(declared, drafts, Known(existing=existing))
    if not settled.writes or not settled.is_clean:
        return None
    unique = unique_values(declared, drafts.drafts)
    assumed = Assumptions(
        user_id=viewer.user_id,
        role=viewer.role,
        type=declared.name,
        seen=seen,
        needed=[(type_name, item) for type_name, ids in needed.items() for item in sorted(ids)],
        unique_tags={tag(target.account_id, declared.name, *value) for value in unique},
    )
    writes = settled_writes(target, settled)
    written = await write_records_if(pool, target.account_id, writes, target.cause, assumed)
    return None if written is None else (settled, written)


def _is_plain(declared: DeclaredType, arguments: SetArguments) -> bool:
    """Records that are containers, or look different to everybody, concern others; so do states."""
    return (
        declared.is_viewed_as_stored
        and declared.container is None
        and declared.default_flag is None
        and declared.name not in declared.references.values()
        and arguments.if_in_state is None
    )


def _has_blobs(declared: DeclaredType, draft: Draft) -> bool:
    """Before or after, by reference or in a `data:` URI."""
    if blob_ids(declared, draft.before) or blob_ids(declared, draft.stored):
        return True
    return bool(without_data_uris(declared, draft, functools.partial(new_id, "g"))[1])
