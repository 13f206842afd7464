"""What is an image (RFC 9610 section 3.5)."""

import pytest

from services.dispatcher.methods.image import is_image


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", True),
        (b"\xff\xd8\xff\xe0", True),
        (b"RIFF0000WEBPVP8 ", True),
        (b"RIFF0000WAVE", False),
        (b"\0\0\0\x1cftypavif", True),
        (b"\0\0\0\x1cftypmp42", False),
        (b"<svg xmlns", False),
        (b"", False),
    ],
)
def test_an_image_is_known_by_its_first_octets(head: bytes, expected: bool) -> None:  # noqa: FBT001
    assert is_image(head) is expected
