"""Blob values: sources, selections, ranges, images (RFC 9404, RFC 9110 section 14)."""

from typing import Any

import pytest

from services.dispatcher.methods.blob import (
    BlobGetArguments,
    BlobView,
    Source,
    literal_octets,
    read_selection,
    read_upload,
    source_range,
)
from shared.jmap.errors import MethodError, SetRejectedError


def test_a_source_is_text_or_base64_or_a_part() -> None:
    upload = read_upload(
        {"data": [{"data:asText": "é"}, {"data:asBase64": "gYE="}, {"blobId": "g1", "offset": 1}]}
    )
    text, encoded, part = upload.data
    assert literal_octets(text) == "é".encode()
    assert literal_octets(encoded) == b"\x81\x81"
    assert source_range(part, 5) == (1, 5)
    assert source_range(Source(blob_id="g1", length=2), 5) == (0, 2)


@pytest.mark.parametrize(
    "given", [{}, {"data": 1}, {"data": [{}]}, {"data": [{"data:asText": "x", "offset": 1}]}]
)
def test_an_upload_that_cannot_be(given: Any) -> None:
    with pytest.raises(SetRejectedError):
        read_upload(given)


def test_wrong_base64_and_ranges_are_refused() -> None:
    with pytest.raises(SetRejectedError):
        literal_octets(Source(base64="!"))
    for source in (Source(blob_id="g", offset=6), Source(blob_id="g", offset=2, length=4)):
        with pytest.raises(SetRejectedError):
            source_range(source, 5)


def view(octets: bytes, **arguments: Any) -> Any:
    selection = read_selection(BlobGetArguments(account_id="a", ids=[], **arguments))
    start, end, _ = selection.range_in(len(octets))
    shown = BlobView("g1", len(octets), selection)
    shown.take(octets[start:end])
    return shown.shown()


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({}, {"data:asText": "abc", "size": 3}),
        ({"properties": ["id", "size"]}, {"size": 3}),
        ({"properties": ["data:asBase64"]}, {"data:asBase64": "YWJj"}),
        (
            {"properties": ["digest:sha"], "length": 0},
            {"digest:sha": "2jmj7l5rSw0yVb/vlWAYkK/YBwk="},
        ),
        ({"offset": 1, "length": 9}, {"data:asText": "bc", "size": 3, "isTruncated": True}),
        ({"offset": 4}, {"data:asText": "", "size": 3, "isTruncated": True}),
    ],
)
def test_what_is_selected_is_shown(arguments: Any, shown: Any) -> None:
    assert view(b"abc", **arguments) == {"id": "g1", **shown}


def test_what_is_no_text_is_base64() -> None:
    assert view(b"\x81") == {
        "id": "g1",
        "data:asBase64": "gQ==",
        "isEncodingProblem": True,
        "size": 1,
    }
    only_text = view(b"\x81", properties=["data:asText"])
    assert only_text == {"id": "g1", "data:asText": None, "isEncodingProblem": True}
    assert view(b"\x81", properties=["data:asBase64"]) == {"id": "g1", "data:asBase64": "gQ=="}
    with pytest.raises(MethodError):
        view(b"", properties=["nope"])
