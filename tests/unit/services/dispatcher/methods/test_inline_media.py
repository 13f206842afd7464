"""`data:` URIs (RFC 2397) become blobs (RFC 9610 section 3)."""

from typing import Any

import pytest

from services.dispatcher.methods.inline_media import (
    InlineBlob,
    parse_data_uri,
    without_data_uris,
)
from services.dispatcher.methods.set import Draft
from services.dispatcher.types.contacts import ADDRESS_BOOK, CONTACT_CARD


@pytest.mark.parametrize(
    ("uri", "parsed"),
    [
        ("data:image/png;base64,AAEC", ("image/png", b"\0\1\2")),
        ("DATA:image/png;x=y;BASE64,AAE", ("image/png", b"\0\1")),
        ("data:,a%20b", ("text/plain", b"a b")),
        ("data:;base64,!", None),
        ("data:image/png", None),
        ("https://x.example/,", None),
    ],
)
def test_a_data_uri_is_read(uri: str, parsed: Any) -> None:
    assert parse_data_uri(uri) == parsed


def draft(media: Any) -> Draft:
    return Draft(key="k", record_id="c1", stored={"media": media}, answer={"id": "c1"})


def test_a_data_uri_becomes_a_blob_and_is_told() -> None:
    media = {
        "a": {"kind": "photo", "uri": "data:image/gif;base64,R0lG"},
        "b": {"kind": "photo", "uri": "https://x.example"},
        "c": {"kind": "photo", "blobId": "g0"},
    }
    told, blobs = without_data_uris(CONTACT_CARD, draft(media), lambda: "g1")
    assert blobs == [InlineBlob(id="g1", type="image/gif", content=b"GIF")]
    changed = {**media, "a": {"kind": "photo", "blobId": "g1", "mediaType": "image/gif"}}
    assert told.stored == {"media": changed}
    assert told.answer == {"id": "c1", "media": changed}


@pytest.mark.parametrize("media", [None, {}, {"b": {"uri": "https://x.example"}}, {"c": 7}])
def test_other_media_are_left_alone(media: Any) -> None:
    made = draft(media)
    assert without_data_uris(CONTACT_CARD, made, str) == (made, [])
    assert without_data_uris(ADDRESS_BOOK, made, str) == (made, [])
    gone = Draft(key="k", record_id="c1")
    assert without_data_uris(CONTACT_CARD, gone, str) == (gone, [])
