"""/copy of declared types (RFC 8620 section 5.4): read there, create here, then destroy there."""

import functools

import asyncpg
import msgspec

from services.dispatcher.methods.arguments import CopyArguments, read_arguments
from services.dispatcher.methods.declaration import DeclaredType
from services.dispatcher.methods.index import blob_ids
from services.dispatcher.methods.set import Drafter
from services.dispatcher.methods.settle import Settled, settle
from services.dispatcher.mutation import (
    Committed,
    Target,
    decode_record,
    lock_to_write,
    look_around,
    viewer,
    viewer_of,
    with_stored_media,
    write_settled,
)
from services.dispatcher.registry import Answers, Call, Method
from services.dispatcher.standard import StandardMethods
from shared.jmap.errors import MethodError, SetError, invalid_arguments
from shared.jmap.i_json import JsonObject
from shared.jmap.session import CoreLimits
from shared.store.blobs import copy_blobs
from shared.store.ids import new_id
from shared.store.people import VisibleAccount
from shared.store.pool import Connection
from shared.store.records import read_records, read_state


class CopyMethods:
    """For every declared type whose records stand alone; containers are not copied."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        standard: StandardMethods,
        limits: CoreLimits,
        committed: Committed,
    ) -> None:
        self._pool = pool
        self._standard = standard
        self._limits = limits
        self._committed = committed

    def methods(self) -> list[Method]:
        return [
            Method(
                name=f"{declared.name}/copy",
                capability=declared.capability,
                handle=functools.partial(self._copy, declared),
            )
            for declared in self._standard.types.values()
            if declared.container is None
        ]

    async def _copy(self, declared: DeclaredType, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, CopyArguments)
        account = call.writable_account(arguments.account_id)
        source = call.accounts.get(arguments.from_account_id)
        if source is None:
            raise MethodError("fromAccountNotFound")
        if source.id == account.id:
            raise invalid_arguments("Copy between two accounts.", "fromAccountId")
        if len(arguments.create) > self._limits.max_objects_in_set:
            raise MethodError("requestTooLarge")
        originals = await self._originals(declared, arguments, source, call)
        async with self._pool.acquire() as connection, connection.transaction():
            account = await lock_to_write(connection, call, account)
            before = await read_state(connection, account.id, declared.name)
            if arguments.if_in_state not in (None, before.token):
                raise MethodError("stateMismatch")
            blobs = {
                blob_id
                for _, original in originals.values()
                for blob_id in blob_ids(declared, original)
            }
            await copy_blobs(connection, source.id, account.id, call.user_id, sorted(blobs))
            settled = await self._settled(connection, declared, (call, account), originals)
            written = await write_settled(
                connection, Target(account.id, declared, call.cause), settled, {}
            )
        if written is not None:
            self._committed(written.entry)
        call.created_ids.update(settled.created_ids)
        answer: JsonObject = {
            "fromAccountId": source.id,
            "accountId": account.id,
            "oldState": before.token,
            "newState": (
                before.token if written is None else written.entry.states[declared.name].state
            ),
            "created": msgspec.to_builtins(settled.created) or None,
            "notCreated": msgspec.to_builtins(settled.not_created) or None,
        }
        answers: list[tuple[str, JsonObject]] = [(f"{declared.name}/copy", answer)]
        if arguments.on_success_destroy_original and settled.created:
            copied = [str(arguments.create[key]["id"]) for key in settled.created]
            answers.append(await self._destroyed(declared, arguments, call, copied))
        return answers

    async def _originals(
        self,
        declared: DeclaredType,
        arguments: CopyArguments,
        source: VisibleAccount,
        call: Call,
    ) -> dict[str, tuple[JsonObject, JsonObject | None]]:
        """Creation id -> what the client gave without the id, and the original or None."""
        ids = {key: str(given.get("id")) for key, given in arguments.create.items()}
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            state = await read_state(connection, source.id, declared.name)
            if arguments.if_from_in_state not in (None, state.token):
                raise MethodError("stateMismatch")
            found = await read_records(connection, source.id, declared.name, list(ids.values()))
            looking = await viewer_of(connection, source.id, viewer(call, source), declared)
        records = {record.id: declared.view(decode_record(record), looking) for record in found}
        return {
            key: (
                {name: value for name, value in given.items() if name != "id"},
                records.get(ids[key]),
            )
            for key, given in arguments.create.items()
        }

    async def _settled(
        self,
        connection: Connection,
        declared: DeclaredType,
        caller: tuple[Call, VisibleAccount],
        originals: dict[str, tuple[JsonObject, JsonObject | None]],
    ) -> Settled:
        call, account = caller
        drafter = Drafter(
            declared,
            {},
            viewer=await viewer_of(connection, account.id, viewer(call, account), declared),
            created_ids=call.created_ids,
            new_id=functools.partial(new_id, declared.id_prefix),
        )
        drafts = await with_stored_media(
            connection, account.id, declared, drafter.draft_copies(originals), user_id=call.user_id
        )
        known = await look_around(
            connection, account.id, declared, drafts, user_id=call.user_id, may_empty=False
        )
        settled = settle(declared, drafts, known)
        for key, error in settled.not_created.items():
            if error.existing_id is not None:
                settled.not_created[key] = SetError(
                    type="alreadyExists", existing_id=error.existing_id
                )
        return settled

    async def _destroyed(
        self, declared: DeclaredType, arguments: CopyArguments, call: Call, copied: list[str]
    ) -> tuple[str, JsonObject]:
        """The implicit /set, whose own failure is its own answer."""
        destroy: JsonObject = {
            "accountId": arguments.from_account_id,
            "ifInState": arguments.destroy_from_if_in_state,
            "destroy": list(copied),
        }
        try:
            return await self._standard.set(
                declared, msgspec.structs.replace(call, arguments=destroy)
            )
        except MethodError as error:
            return "error", error.arguments()
