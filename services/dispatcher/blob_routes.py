"""Upload and download (RFC 8620 sections 6.1 and 6.2), piece by piece."""

import asyncio
import re
from collections.abc import Mapping
from urllib.parse import quote

import asyncpg
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from services.dispatcher.blob_store import BlobKeeper, OverQuotaError, visible_blobs
from services.dispatcher.guard import Guard, PerUser
from services.dispatcher.methods.byte_range import UNSATISFIABLE, parse_range
from services.dispatcher.sessions import Sessions
from shared.http.problem_details import problem
from shared.jmap.errors import RequestError, limit_exceeded
from shared.jmap.i_json import encode_json
from shared.jmap.session import CoreLimits
from shared.store.blobs import BlobLostError, BlobTooLargeError, BlobWriter, read_blob
from shared.store.credentials import Credential
from shared.store.records import AccountGoneError

_CHUNK_SECONDS_MAX = 60  # between two chunks of an upload
_MEDIA_TYPE = re.compile(
    r"[\w.+!#$&^-]{1,100}/[\w.+!#$&^-]{1,100}(?:\s*;[\x20-\x7e]{0,200})?", re.ASCII
)
_OCTETS = "application/octet-stream"
# What is downloaded was uploaded by anybody: a browser must not run it as ours.
_UNTRUSTED = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


class BlobEndpoints:
    """`/jmap/upload/…` and `/jmap/download/…`."""

    def __init__(
        self,
        guard: Guard,
        sessions: Sessions,
        pool: asyncpg.Pool,
        keeper: BlobKeeper,
        limits: CoreLimits,
    ) -> None:
        self._guard = guard
        self._sessions = sessions
        self._pool = pool
        self._keeper = keeper
        self._limits = limits
        self._uploads = PerUser("maxConcurrentUpload", limits.max_concurrent_upload)

    def routes(self) -> list[Route]:
        upload, download = self._upload, self._download
        path = "/jmap/download/{account_id}/{blob_id}/{name:path}"
        return [
            self._guard.route("/jmap/upload/{account_id}/", upload, methods=["POST"]),
            self._guard.route(path, download, methods=["GET", "HEAD"]),
        ]

    async def _upload(self, request: Request, credential: Credential) -> Response:
        account_id = request.path_params["account_id"]
        session = await self._sessions.session_of(credential)
        account = session.accounts.get(account_id)
        if account is None:
            return problem(404, "There is no such account.")
        if account.role == "read":
            return problem(403, "The account is read-only.")
        with self._uploads.one(credential.user_id):
            return await self._stored(request, account_id, credential.user_id)

    async def _stored(self, request: Request, account_id: str, user_id: str) -> Response:
        bytes_max = self._limits.max_size_upload
        if int(request.headers.get("content-length") or 0) > bytes_max:
            raise _too_large(bytes_max)
        given = request.headers.get("content-type", "")
        type_ = given if _MEDIA_TYPE.fullmatch(given) else _OCTETS
        writer = BlobWriter(self._pool, account_id, user_id, bytes_max=bytes_max)
        is_kept = False
        try:
            await _receive(request, writer)
            blob = await writer.finish(type_)
            await self._keeper.make_room(account_id, blob)
            is_kept = True
        except BlobTooLargeError as error:
            raise _too_large(bytes_max) from error
        except OverQuotaError:
            return problem(507, "The account has no room left.", type_="overQuota")
        except (AccountGoneError, BlobLostError):
            return problem(404, "The account was removed, or the upload took too long.")
        except TimeoutError:
            return problem(408, "The upload did not arrive in time.")
        finally:
            if not is_kept:
                await writer.abandon()
        answer = {
            "accountId": account_id,
            "blobId": blob.id,
            "type": type_,
            "size": blob.size,
        }
        return Response(encode_json(answer), 201, media_type="application/json")

    async def _download(self, request: Request, credential: Credential) -> Response:
        account_id, blob_id = request.path_params["account_id"], request.path_params["blob_id"]
        session = await self._sessions.session_of(credential)
        if account_id not in session.accounts:
            return problem(404, "There is no such account.")
        found = await visible_blobs(
            self._pool, account_id, credential.user_id, self._keeper.types, [blob_id]
        )
        blob = found.get(blob_id)
        if blob is None:
            return problem(404, "There is no such blob.")
        headers = _headers(request, blob_id)
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        selected = parse_range(request.headers.get("range"), blob.size)
        if selected == UNSATISFIABLE:
            refused = {"Content-Range": f"bytes */{blob.size}"}
            return problem(416, "The range lies outside of the blob.", refused)
        start, end = (0, blob.size) if selected is None else selected
        headers["Content-Length"] = str(end - start)
        status = 200
        if selected is not None:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{blob.size}"
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers)
        pieces = read_blob(self._pool, account_id, blob_id, start, end)
        return StreamingResponse(pieces, status, headers)


async def _receive(request: Request, writer: BlobWriter) -> None:
    stream = request.stream().__aiter__()
    while True:
        async with asyncio.timeout(_CHUNK_SECONDS_MAX):
            chunk = await anext(stream, None)
        if chunk is None:
            return
        await writer.write(chunk)


def _headers(request: Request, blob_id: str) -> dict[str, str]:
    """The type and the name are the client's, as the template of downloadUrl has them."""
    type_ = request.query_params.get("type", "")
    name = quote(request.path_params["name"], safe="")
    fixed: Mapping[str, str] = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, immutable, max-age=31536000",
        "ETag": f'"{blob_id}"',
        "Vary": "Authorization",
        **_UNTRUSTED,
    }
    return {
        "Content-Type": type_ if _MEDIA_TYPE.fullmatch(type_) else _OCTETS,
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
        **fixed,
    }


def _too_large(bytes_max: int) -> RequestError:
    return limit_exceeded(
        "maxSizeUpload", f"The upload is larger than {bytes_max} octets.", http_status=413
    )
