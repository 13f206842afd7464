"""Blob/copy (RFC 8620 section 6.3) and Blob/upload, get and lookup (RFC 9404)."""

from collections.abc import Mapping

import asyncpg
import msgspec

from services.dispatcher.blob_store import (
    BlobKeeper,
    OverQuotaError,
    references,
    visible_blobs,
)
from services.dispatcher.methods.arguments import read_arguments
from services.dispatcher.methods.blob import (
    BlobCopyArguments,
    BlobGetArguments,
    BlobView,
    LookupArguments,
    Source,
    UploadArguments,
    literal_octets,
    read_selection,
    read_upload,
    source_range,
)
from services.dispatcher.methods.declaration import DeclaredType
from services.dispatcher.registry import Answers, Call, Method
from services.dispatcher.types.blob import BLOB
from shared.jmap.errors import (
    MethodError,
    SetError,
    SetRejectedError,
    invalid_arguments,
)
from shared.jmap.i_json import JsonObject, JsonValue
from shared.jmap.ids import is_id
from shared.jmap.session import CORE, CoreLimits
from shared.store.blobs import (
    Blob,
    BlobLostError,
    BlobTooLargeError,
    BlobWriter,
    copy_blobs,
    read_blob,
)
from shared.store.people import VisibleAccount
from shared.store.records import AccountGoneError

_TOO_LARGE = SetError(type="tooLarge")
_NO_BLOB = SetError(type="notFound", description="There is no such blob.")


class BlobMethods:
    """Blobs belong to accounts; their octets never pass through memory as a whole."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        types: Mapping[str, DeclaredType],
        keeper: BlobKeeper,
        limits: CoreLimits,
    ) -> None:
        self._pool = pool
        self._types = types
        self._keeper = keeper
        self._limits = limits

    def methods(self) -> list[Method]:
        return [
            Method(name="Blob/copy", capability=CORE, handle=self._copy),
            Method(name="Blob/upload", capability=BLOB, handle=self._upload),
            Method(name="Blob/get", capability=BLOB, handle=self._get),
            Method(name="Blob/lookup", capability=BLOB, handle=self._lookup),
        ]

    async def _copy(self, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, BlobCopyArguments)
        account = call.writable_account(arguments.account_id)
        source = call.accounts.get(arguments.from_account_id)
        if source is None:
            raise MethodError("fromAccountNotFound")
        if source.id == account.id:
            raise invalid_arguments("Copy between two accounts.", "fromAccountId")
        self._check_count(arguments.blob_ids)
        visible = await self._visible(call, source, arguments.blob_ids)
        not_copied = {key: _NO_BLOB for key in arguments.blob_ids if key not in visible}
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await copy_blobs(connection, source.id, account.id, call.user_id, list(visible))
        except AccountGoneError as error:
            raise MethodError("accountNotFound") from error
        copied: JsonObject = {blob_id: blob_id for blob_id in visible}
        answer: JsonObject = {
            "fromAccountId": source.id,
            "accountId": account.id,
            "copied": copied or None,
            "notCopied": msgspec.to_builtins(not_copied) or None,
        }
        return [("Blob/copy", answer)]

    async def _upload(self, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, UploadArguments)
        account = call.writable_account(arguments.account_id)
        if len(arguments.create) > self._limits.max_objects_in_set:
            raise MethodError("requestTooLarge")
        created: JsonObject = {}
        not_created: dict[str, SetError] = {}
        for key, given in arguments.create.items():
            try:
                blob = await self._uploaded(call, account, key, given)
            except SetRejectedError as rejected:
                not_created[key] = rejected.error
                continue
            call.created_ids[key] = blob.id
            created[key] = {"id": blob.id, "type": blob.type, "size": blob.size}
        answer: JsonObject = {
            "accountId": account.id,
            "oldState": None,
            "created": created or None,
            "notCreated": msgspec.to_builtins(not_created) or None,
        }
        return [("Blob/upload", answer)]

    async def _uploaded(
        self, call: Call, account: VisibleAccount, key: str, given: JsonObject
    ) -> Blob:
        upload = read_upload(given)
        if not is_id(key):
            raise SetRejectedError(SetError(type="invalidProperties"))
        writer = BlobWriter(
            self._pool, account.id, call.user_id, bytes_max=self._limits.max_size_upload
        )
        try:
            for source in upload.data:
                await self._take(call, account, source, writer)
            blob = await writer.finish(upload.type or "application/octet-stream")
            await self._keeper.make_room(account.id, blob)
        except BlobTooLargeError as error:
            await writer.abandon()
            raise SetRejectedError(_TOO_LARGE) from error
        except OverQuotaError as error:
            await writer.abandon()
            raise SetRejectedError(SetError(type="overQuota")) from error
        except (AccountGoneError, BlobLostError) as error:
            raise MethodError("accountNotFound") from error
        except SetRejectedError:
            await writer.abandon()
            raise
        return blob

    async def _take(
        self, call: Call, account: VisibleAccount, source: Source, writer: BlobWriter
    ) -> None:
        if not isinstance(source.blob_id, str):
            await writer.write(literal_octets(source))
            return
        [blob_id] = _resolved(call, [source.blob_id])
        blob = (await self._visible(call, account, [blob_id])).get(blob_id)
        if blob is None:
            raise SetRejectedError(
                SetError(
                    type="invalidProperties",
                    description="There is no such blob.",
                    properties=["data"],
                )
            )
        start, end = source_range(source, blob.size)
        async for piece in read_blob(self._pool, account.id, blob.id, start, end):
            await writer.write(piece)

    async def _get(self, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, BlobGetArguments)
        account = call.account(arguments.account_id)
        self._check_count(arguments.ids)
        selection = read_selection(arguments)
        ids = list(dict.fromkeys(_resolved(call, arguments.ids)))
        visible = await self._visible(call, account, ids)
        ranges = {key: selection.range_in(blob.size) for key, blob in visible.items()}
        octets = sum(end - start for start, end, _ in ranges.values())
        if selection.wants_data and octets > self._limits.max_size_request:
            raise MethodError("requestTooLarge", "Download what is this large.")
        shown: list[JsonValue] = []
        for blob_id in ids:
            if blob_id not in visible:
                continue
            view = BlobView(blob_id, visible[blob_id].size, selection)
            if selection.wants_data or selection.digests:
                start, end, _ = ranges[blob_id]
                async for piece in read_blob(self._pool, account.id, blob_id, start, end):
                    view.take(piece)
            shown.append(view.shown())
        not_found: list[JsonValue] = [blob_id for blob_id in ids if blob_id not in visible]
        return [("Blob/get", {"accountId": account.id, "list": shown, "notFound": not_found})]

    async def _lookup(self, call: Call) -> Answers:
        arguments = read_arguments(call.arguments, LookupArguments)
        account = call.account(arguments.account_id)
        self._check_count(arguments.ids)
        types = [self._types.get(name) for name in dict.fromkeys(arguments.type_names)]
        known = [
            declared
            for declared in types
            if declared is not None
            and declared.blobs is not None
            and declared.capability in call.using
        ]
        if len(known) != len(types):
            raise MethodError("unknownDataType")
        ids = list(dict.fromkeys(_resolved(call, arguments.ids)))
        visible = await self._visible(call, account, ids)
        matched: dict[str, JsonObject] = {blob_id: {} for blob_id in ids}
        for declared in known:
            found = await references(self._pool, account.id, declared, list(visible))
            for blob_id in ids:
                matched[blob_id][declared.name] = list[JsonValue](found.get(blob_id, []))
        shown: list[JsonValue] = [
            {"id": blob_id, "matchedIds": matched[blob_id]} for blob_id in ids
        ]
        return [("Blob/lookup", {"accountId": account.id, "list": shown, "notFound": []})]

    async def _visible(
        self, call: Call, account: VisibleAccount, ids: list[str]
    ) -> dict[str, Blob]:
        return await visible_blobs(
            self._pool, account.id, call.user_id, list(self._types.values()), ids
        )

    def _check_count(self, ids: list[str]) -> None:
        if len(ids) > self._limits.max_objects_in_get:
            raise MethodError("requestTooLarge")


def _resolved(call: Call, ids: list[str]) -> list[str]:
    return [call.created_ids.get(item[1:], item) if item.startswith("#") else item for item in ids]
