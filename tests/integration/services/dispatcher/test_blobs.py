"""Blobs over HTTP (RFC 8620 section 6) and in method calls (RFC 9404)."""

import asyncio
import base64
import hashlib
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.dispatcher.blob_store import BlobLimits
from shared.jmap.session import CORE, CoreLimits
from shared.store.blobs import PIECE_BYTES
from shared.store.people import add_account
from tests.support.dispatcher import (
    BLOB,
    CONTACTS,
    JmapClient,
    RunningDispatcher,
    running_dispatcher,
)

pytestmark = pytest.mark.integration

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
LARGE = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"end"


async def upload(client: JmapClient, data: bytes, type_: str = "image/png", **where: str) -> Any:
    account_id = where.get("account_id", client.account_id)
    response = await client.http.post(
        f"/jmap/upload/{account_id}/", content=data, headers={"Content-Type": type_}
    )
    assert response.status_code == 201, response.text
    return response.json()


async def download(client: JmapClient, blob_id: str, **headers: str) -> httpx.Response:
    url = f"/jmap/download/{client.account_id}/{blob_id}/na%2Fme%20%C3%A9.png?type=image/png"
    return await client.http.get(url, headers=headers)


@pytest.mark.parametrize("data", [b"", PNG, LARGE])
async def test_what_is_uploaded_is_downloaded(client: JmapClient, data: bytes) -> None:
    """C-40, C-41, C-42."""
    told = await upload(client, data)
    assert told == {
        "accountId": client.account_id,
        "blobId": told["blobId"],
        "type": "image/png",
        "size": len(data),
    }
    response = await download(client, told["blobId"])
    assert (response.status_code, response.content) == (200, data)
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-disposition"].endswith("''na%2Fme%20%C3%A9.png")
    assert response.headers["cache-control"] == "private, immutable, max-age=31536000"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        (f"bytes={PIECE_BYTES - 1}-{PIECE_BYTES}", PIECE_BYTES - 1, PIECE_BYTES + 1),
        ("bytes=-4", len(LARGE) - 4, len(LARGE)),
        (f"bytes={PIECE_BYTES}-", PIECE_BYTES, len(LARGE)),
        ("bytes=5-99999999999", 5, len(LARGE)),
    ],
)
async def test_a_range_is_served(client: JmapClient, header: str, start: int, end: int) -> None:
    blob_id = (await upload(client, LARGE))["blobId"]
    response = await download(client, blob_id, Range=header)
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{len(LARGE)}"
    assert response.content == LARGE[start:end]


async def test_ranges_that_cannot_be_and_caches(client: JmapClient) -> None:
    blob_id = (await upload(client, PNG))["blobId"]
    assert (await download(client, blob_id, Range="bytes=999-")).status_code == 416
    for header in ("bytes=9-3", "bytes=0-1,3-4", "lines=1-2", "bytes=-"):
        assert (await download(client, blob_id, Range=header)).content == PNG
    etag = (await download(client, blob_id)).headers["etag"]
    assert (await download(client, blob_id, **{"If-None-Match": etag})).status_code == 304
    url = f"/jmap/download/{client.account_id}/{blob_id}/x"
    head = await client.http.head(url)
    assert (head.headers["content-length"], head.content) == (str(len(PNG)), b"")
    assert head.headers["content-type"] == "application/octet-stream"
    for path in (url.replace(blob_id, "gnone"), url.replace(client.account_id, "anone")):
        assert (await client.http.get(path)).status_code == 404


async def test_limits_of_uploads(postgres_dsn: str) -> None:
    """C-10: maxSizeUpload, maxConcurrentUpload; with and without a length."""
    limits = CoreLimits(max_size_upload=1000, max_concurrent_upload=1)
    async with running_dispatcher(postgres_dsn, limits=limits) as dispatcher:
        client = await dispatcher.user("ada")
        url = f"/jmap/upload/{client.account_id}/"

        async def chunks() -> Any:
            for _ in range(3):
                yield b"x" * 500

        for content in (b"x" * 1001, chunks()):
            response = await client.http.post(url, content=content)
            assert (response.status_code, response.json()["limit"]) == (413, "maxSizeUpload")
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow() -> Any:
            yield b"x"
            begun.set()
            await go_on.wait()
            yield b"y"

        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(client.http.post(url, content=slow()))
            await begun.wait()
            second = await client.http.post(url, content=b"z")
            while second.status_code == 201:  # the first has not arrived yet
                second = await client.http.post(url, content=b"z")
            go_on.set()
        assert second.json()["limit"] == "maxConcurrentUpload"
        assert second.headers["retry-after"]
        assert first.result().json()["size"] == 2
        await client.http.aclose()


async def test_only_who_uploaded_it_sees_an_unreferenced_blob(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """C-40."""
    team = await add_account(dispatcher.pool, "team")
    other = await dispatcher.user("grace")
    for name in ("ada", "grace"):
        await dispatcher.grant(team, name, "write")
    ours = JmapClient(client.url, client.token, team)
    theirs = JmapClient(client.url, other.token, team)
    blob_id = (await upload(ours, PNG))["blobId"]
    assert (await download(ours, blob_id)).status_code == 200
    assert (await download(theirs, blob_id)).status_code == 404
    await ours.add_card(media={"p": {"kind": "photo", "blobId": blob_id}})
    assert (await download(theirs, blob_id)).status_code == 200
    for user in (ours, theirs, other):
        await user.http.aclose()


async def test_a_photo_is_an_image_that_exists(client: JmapClient) -> None:
    """RFC 9610 section 3.5."""
    book = {"addressBookIds": {await client.address_book(): True}}
    text = (await upload(client, b"not an image", "image/png"))["blobId"]
    for kind, blob_id, is_fine in (
        ("photo", text, False),
        ("photo", "gnone", False),
        ("sound", text, True),
    ):
        card = {**book, "media": {"m": {"kind": kind, "blobId": blob_id}}}
        answer = await client.call("ContactCard/set", create={"k": card})
        assert bool(answer["created"]) is is_fine
        if not is_fine:
            assert answer["notCreated"]["k"]["properties"] == ["media"]


@pytest.mark.parametrize("octets", [PNG, PNG + bytes(400_000)])
async def test_a_photo_in_a_data_uri_becomes_a_blob(client: JmapClient, octets: bytes) -> None:
    """RFC 9610 section 3: `blobId` and `mediaType`, and no `uri`."""
    uri = "data:image/png;base64," + base64.b64encode(octets).decode()
    card = {
        "addressBookIds": {await client.address_book(): True},
        "media": {"p": {"kind": "photo", "uri": uri}},
    }
    made = (await client.call("ContactCard/set", create={"k": card}))["created"]["k"]
    photo = made["media"]["p"]
    assert set(photo) == {"kind", "blobId", "mediaType"}
    assert (await download(client, photo["blobId"])).content == octets
    [shown] = (await client.call("ContactCard/get", ids=[made["id"]]))["list"]
    assert shown["media"]["p"] == photo
    text = {"media/p/uri": "data:,no%20image", "media/p/blobId": None}
    refused = await client.call("ContactCard/set", update={made["id"]: text})
    assert refused["notUpdated"][made["id"]]["properties"] == ["media"]


async def test_unused_blobs_live_for_an_hour(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """C-40: then the job removes them; referenced ones stay, and get an hour when let go."""
    keeper = dispatcher.dispatcher.keeper
    unused, used = [(await upload(client, PNG))["blobId"] for _ in range(2)]
    card = await client.add_card(media={"p": {"kind": "photo", "blobId": used}})
    await keeper.remove_unused()
    assert (await download(client, unused)).status_code == 200
    await keeper.remove_unused(older_than=timedelta(0))
    assert (await download(client, unused)).status_code == 404
    assert (await download(client, used)).status_code == 200
    await client.call("ContactCard/set", destroy=[card])
    await keeper.remove_unused()
    assert (await download(client, used)).status_code == 200
    await keeper.remove_unused(older_than=timedelta(0))
    assert (await download(client, used)).status_code == 404


async def test_a_blob_of_many_does_not_hide_another(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """C-40: the job looks at each blob alone."""
    popular, rare = [(await upload(client, PNG))["blobId"] for _ in range(2)]
    for blob_id in (popular, popular, popular, rare):
        await client.add_card(media={"p": {"kind": "photo", "blobId": blob_id}})
    # As if the job had to find out again which blobs are in use.
    await dispatcher.pool.execute("UPDATE blobs SET unused_at = now() - interval '2 hours'")
    await dispatcher.dispatcher.keeper.remove_unused()
    for blob_id in (popular, rare):
        assert (await download(client, blob_id)).status_code == 200
    left = "SELECT count(*) FROM blobs WHERE unused_at IS NOT NULL"
    assert await dispatcher.pool.fetchval(left) == 0


async def test_over_quota_the_oldest_unused_goes_first(postgres_dsn: str) -> None:
    """C-40; and an account without room refuses."""
    limits = BlobLimits(unused_bytes_max=250, account_bytes_max=400)
    async with running_dispatcher(postgres_dsn, blob_limits=limits) as dispatcher:
        client = await dispatcher.user("ada")
        blobs = [(await upload(client, b"x" * 100))["blobId"] for _ in range(3)]
        statuses = [(await download(client, blob_id)).status_code for blob_id in blobs]
        assert statuses == [404, 200, 200]
        for blob_id in blobs[1:]:
            await client.add_card(media={"m": {"kind": "sound", "blobId": blob_id}})
        last = (await upload(client, b"x" * 200))["blobId"]
        await client.add_card(media={"m": {"kind": "sound", "blobId": last}})
        response = await client.http.post(f"/jmap/upload/{client.account_id}/", content=b"x")
        assert response.status_code == 507
        await client.http.aclose()


async def test_blobs_are_copied_between_accounts(
    client: JmapClient, dispatcher: RunningDispatcher
) -> None:
    """C-43; and a copied card takes its media with it."""
    team = await add_account(dispatcher.pool, "team")
    await dispatcher.grant(team, "ada", "write")
    ours = JmapClient(client.url, client.token, team)
    large = (await upload(client, LARGE))["blobId"]
    call = {"fromAccountId": client.account_id, "accountId": team}
    answer = await client.call("Blob/copy", **call, blobIds=[large, "gnone"])
    assert list(answer["copied"]) == [large]
    assert answer["notCopied"]["gnone"]["type"] == "notFound"
    assert (await download(ours, answer["copied"][large])).content == LARGE
    error = await client.error("Blob/copy", **{**call, "fromAccountId": "anone"}, blobIds=[])
    assert error["type"] == "fromAccountNotFound"
    photo = (await upload(client, PNG))["blobId"]
    card = await client.add_card(media={"p": {"kind": "photo", "blobId": photo}})
    book = await ours.address_book()
    copied = await client.call(
        "ContactCard/copy", **call, create={"k": {"id": card, "addressBookIds": {book: True}}}
    )
    assert copied["created"]
    assert (await download(ours, photo)).content == PNG
    await ours.http.aclose()


async def test_blobs_in_method_calls(client: JmapClient) -> None:
    """RFC 9404 sections 4.1 to 4.3, with its own example."""
    client.using = (CORE, CONTACTS, BLOB)
    fox = "The quick brown fox jumped over the lazy dog."
    sources = [
        {"data:asText": "How"},
        {"blobId": "#b4", "length": 7, "offset": 3},
        {"data:asText": "was t"},
        {"blobId": "#b4", "length": 1, "offset": 1},
        {"data:asBase64": "YXQ/"},
    ]
    account = {"accountId": client.account_id}
    properties = ["data:asText", "size", "digest:sha", "digest:sha-256"]
    body = await client.request(
        ["Blob/upload", {**account, "create": {"b4": {"data": [{"data:asText": fox}]}}}, "S4"],
        ["Blob/upload", {**account, "create": {"cat": {"data": sources}}}, "CAT"],
        ["Blob/get", {**account, "ids": ["#cat", "gnone"], "properties": properties[:2]}, "G4"],
        [
            "Blob/get",
            {**account, "ids": ["#b4"], "properties": properties, "offset": 4, "length": 9},
            "R2",
        ],
        created_ids={},
    )
    answers = {answer[2]: answer[1] for answer in body["methodResponses"]}
    cat = answers["CAT"]["created"]["cat"]
    assert cat["size"] == 19
    assert answers["G4"]["list"] == [
        {"id": cat["id"], "data:asText": "How quick was that?", "size": 19}
    ]
    assert answers["G4"]["notFound"] == ["gnone"]
    [part] = answers["R2"]["list"]
    assert part == {
        "id": answers["S4"]["created"]["b4"]["id"],
        "data:asText": "quick bro",
        "digest:sha": "QiRAPtfyX8K6tm1iOAtZ87Xj3Ww=",
        "digest:sha-256": "gdg9INW7lwHK6OQ9u0dwDz2ZY/gubi0En0xlFpKt0OA=",
        "size": 45,
    }
    assert body["createdIds"]["cat"] == cat["id"]


@pytest.mark.parametrize(
    ("selection", "shown"),
    [
        ({}, {"data:asBase64": "gYFhYg==", "isEncodingProblem": True, "size": 4}),
        ({"properties": ["data:asText"]}, {"data:asText": None, "isEncodingProblem": True}),
        ({"properties": ["data:asBase64"]}, {"data:asBase64": "gYFhYg=="}),
        ({"offset": 2}, {"data:asText": "ab", "size": 4}),
        ({"offset": 2, "length": 3}, {"data:asText": "ab", "size": 4, "isTruncated": True}),
        ({"offset": 9}, {"data:asText": "", "size": 4, "isTruncated": True}),
        ({"properties": ["size"], "offset": None}, {"size": 4}),
    ],
)
async def test_what_is_not_text_is_told(client: JmapClient, selection: Any, shown: Any) -> None:
    """RFC 9404 section 4.2."""
    client.using = (CORE, BLOB)
    blob_id = (await upload(client, b"\x81\x81ab"))["blobId"]
    answer = await client.call("Blob/get", ids=[blob_id], **selection)
    assert answer["list"] == [{"id": blob_id, **shown}]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [{}],
        [{"data:asText": "x", "data:asBase64": "eA=="}],
        [{"data:asBase64": "e"}],
        [{"data:asBase64": "e A="}],
        [{"blobId": "gnone"}],
        [{"blobId": "#k", "offset": 99}],
        [{"blobId": "#k", "offset": 0, "length": 99}],
        [{"data:asText": "x", "offset": 0}],
        [{"data:asText": "x"}] * 257,
    ],
)
async def test_a_source_that_is_wrong_makes_no_blob(client: JmapClient, data: Any) -> None:
    """RFC 9404 section 4.1."""
    client.using = (CORE, BLOB)
    await client.call("Blob/upload", create={"k": {"data": [{"data:asText": "abc"}]}})
    answer = await client.call("Blob/upload", create={"bad": {"data": data}})
    assert (answer["created"], list(answer["notCreated"])) == (None, ["bad"])


async def test_who_refers_to_a_blob_is_looked_up(client: JmapClient) -> None:
    """RFC 9404 section 4.3."""
    client.using = (CORE, CONTACTS, BLOB)
    used, unused = [(await upload(client, PNG))["blobId"] for _ in range(2)]
    card = await client.add_card(media={"p": {"kind": "photo", "blobId": used}})
    answer = await client.call(
        "Blob/lookup", typeNames=["ContactCard"], ids=[used, unused, "gnone"]
    )
    assert answer["list"] == [
        {"id": used, "matchedIds": {"ContactCard": [card]}},
        {"id": unused, "matchedIds": {"ContactCard": []}},
        {"id": "gnone", "matchedIds": {"ContactCard": []}},
    ]
    again = await client.call("Blob/lookup", typeNames=["ContactCard"] * 9, ids=[used])
    assert again["list"] == answer["list"][:1]
    for names in (["AddressBook"], ["Nope"]):
        error = await client.error("Blob/lookup", typeNames=names, ids=[])
        assert error["type"] == "unknownDataType"
    error = await client.error("Blob/get", ids=[], properties=["digest:crc32"])
    assert error["type"] == "invalidArguments"


async def test_a_large_blob_is_digested_in_pieces(client: JmapClient) -> None:
    client.using = (CORE, BLOB)
    blob_id = (await upload(client, LARGE))["blobId"]
    answer = await client.call("Blob/get", ids=[blob_id], properties=["digest:sha-512", "data"])
    [shown] = answer["list"]
    digest = base64.b64encode(hashlib.sha512(LARGE).digest()).decode()
    assert shown["digest:sha-512"] == digest
    assert base64.b64decode(shown["data:asBase64"]) == LARGE
