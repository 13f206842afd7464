"""Note/get, Note/changes and Note/set (RFC 8620 sections 5.1 to 5.3)."""

import re
from collections.abc import Mapping
from typing import TypeVar

import asyncpg
import msgspec
from msgspec import field

from examples.notes_python import store
from shared.jmap.i_json import JsonObject
from shared.method_service.author import Handler, MethodCall, MethodFailedError, MethodReply
from shared.method_service.contract import ServiceDescription

DESCRIPTION = ServiceDescription(
    capability="urn:example:notes",
    version="1.0.0",
    account={"maxTitleLength": 200},
    types={"Note": ("get", "changes", "set")},
)
_CHANGES_MAX = 500
_STATE = re.compile(r"n(\d{1,18})", re.ASCII)

T = TypeVar("T", bound=msgspec.Struct)


class _Arguments(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    account_id: str


class _Get(_Arguments, kw_only=True, rename="camel"):
    ids: list[str] | None = None
    properties: list[str] | None = None


class _Changes(_Arguments, kw_only=True, rename="camel"):
    since_state: str
    max_changes: int | None = None


class _Set(_Arguments, kw_only=True, rename="camel"):
    if_in_state: str | None = None
    create: dict[str, JsonObject] | None = None
    update: dict[str, JsonObject] | None = None
    destroy: list[str] | None = None


class _SetAnswer(msgspec.Struct, kw_only=True, rename="camel"):
    account_id: str
    old_state: str
    new_state: str = ""
    created: dict[str, JsonObject] = field(default_factory=dict)
    updated: dict[str, None] = field(default_factory=dict)
    destroyed: list[str] = field(default_factory=list)
    not_created: dict[str, JsonObject] = field(default_factory=dict)
    not_updated: dict[str, JsonObject] = field(default_factory=dict)
    not_destroyed: dict[str, JsonObject] = field(default_factory=dict)


class NoteMethods:
    """Over a pool; each call its own transaction."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    def handlers(self) -> Mapping[str, Handler]:
        return {"Note/get": self._get, "Note/changes": self._changes, "Note/set": self._set}

    async def _get(self, call: MethodCall) -> MethodReply:
        account_id, arguments = call.account(), _read(call.arguments, _Get)
        shown = _properties(arguments.properties)
        ids = None if arguments.ids is None else [*map(call.record_id, arguments.ids)]
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            state = await store.read_modseq(connection, account_id)
            notes = await store.read_notes(connection, account_id, ids)
        found = {note.id for note in notes}
        return MethodReply(
            arguments={
                "accountId": account_id,
                "state": _token(state),
                "list": [{name: getattr(note, name) for name in shown} for note in notes],
                "notFound": [item for item in ids or () if item not in found],
            }
        )

    async def _changes(self, call: MethodCall) -> MethodReply:
        account_id, arguments = call.account(), _read(call.arguments, _Changes)
        match = _STATE.fullmatch(arguments.since_state)
        limit = _CHANGES_MAX if arguments.max_changes is None else arguments.max_changes
        if limit < 1:
            raise MethodFailedError("invalidArguments", "maxChanges is not positive.")
        limit = min(limit, _CHANGES_MAX)
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            state = await store.read_modseq(connection, account_id)
            if match is None or int(match[1]) > state:
                raise MethodFailedError("cannotCalculateChanges")
            found = await store.read_changes(connection, account_id, int(match[1]), limit + 1)
        has_more, found = len(found) > limit, found[:limit]
        return MethodReply(
            arguments={
                "accountId": account_id,
                "oldState": arguments.since_state,
                "newState": _token(found[-1].modseq if has_more else state),
                "hasMoreChanges": has_more,
                "created": [item.id for item in found if item.is_created],
                "updated": [
                    item.id for item in found if not item.is_created and not item.is_destroyed
                ],
                "destroyed": [item.id for item in found if item.is_destroyed],
            }
        )

    async def _set(self, call: MethodCall) -> MethodReply:
        account_id, arguments = call.account(to_write=True), _read(call.arguments, _Set)
        async with self._pool.acquire() as connection, connection.transaction():
            transaction = await store.begin(connection, account_id)
            old = transaction.modseq
            if arguments.if_in_state not in (None, _token(old)):
                raise MethodFailedError("stateMismatch")
            answer = _SetAnswer(account_id=account_id, old_state=_token(old))
            await _create(transaction, arguments.create or {}, answer)
            made = {key: str(note["id"]) for key, note in answer.created.items()}
            known = msgspec.structs.replace(call, created_ids={**call.created_ids, **made})
            await _update(transaction, arguments.update or {}, answer, known)
            await _destroy(transaction, arguments.destroy or [], answer, known)
            new = transaction.modseq
            answer.new_state = _token(new)
            if new > old:
                await store.finish(connection, account_id, new)
        return MethodReply(
            arguments=msgspec.to_builtins(answer),
            created_ids=made,
            changed={account_id: {"Note": (_token(new), new)}} if new > old else {},
        )


async def _create(
    transaction: store.Transaction, creates: Mapping[str, JsonObject], answer: _SetAnswer
) -> None:
    for key, given in creates.items():
        wrong = _wrong_properties(given)
        if wrong or not given.get("title"):
            answer.not_created[key] = _invalid(wrong or ["title"])
            continue
        note_id = await transaction.create(str(given["title"]), str(given.get("body", "")))
        answer.created[key] = {"id": note_id, **({} if "body" in given else {"body": ""})}


async def _update(
    transaction: store.Transaction,
    updates: Mapping[str, JsonObject],
    answer: _SetAnswer,
    call: MethodCall,
) -> None:
    for given_id, patch in updates.items():
        note_id = call.record_id(given_id)
        wrong = _wrong_properties(patch)
        if wrong:
            answer.not_updated[note_id] = _invalid(wrong)
        elif await transaction.update(note_id, _text(patch.get("title")), _text(patch.get("body"))):
            answer.updated[note_id] = None
        else:
            answer.not_updated[note_id] = {"type": "notFound"}


async def _destroy(
    transaction: store.Transaction, ids: list[str], answer: _SetAnswer, call: MethodCall
) -> None:
    for note_id in map(call.record_id, ids):
        if await transaction.destroy(note_id):
            answer.destroyed.append(note_id)
        else:
            answer.not_destroyed[note_id] = {"type": "notFound"}


def _read(arguments: JsonObject, shape: type[T]) -> T:
    try:
        return msgspec.convert(arguments, shape)
    except msgspec.ValidationError as error:
        raise MethodFailedError("invalidArguments", str(error)) from error


def _properties(wanted: list[str] | None) -> list[str]:
    known = ["id", "title", "body"]
    if wanted is None:
        return known
    if not set(wanted) <= set(known):
        raise MethodFailedError("invalidArguments", "properties has an unknown one.")
    return [name for name in known if name == "id" or name in wanted]


def _wrong_properties(given: JsonObject) -> list[str]:
    """Those that are unknown, no text, or too long; PostgreSQL keeps no U+0000."""
    limits = {"title": 200, "body": 100_000}
    return sorted(
        name
        for name, value in given.items()
        if name not in limits
        or not isinstance(value, str)
        or len(value) > limits[name]
        or "\0" in value
        or (name == "title" and not value)
    )


def _invalid(properties: list[str]) -> JsonObject:
    return {"type": "invalidProperties", "properties": list(properties)}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _token(modseq: int) -> str:
    return f"n{modseq}"
