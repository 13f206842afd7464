"""One range of a Range header (RFC 9110 section 14)."""

from typing import Any

import pytest

from services.dispatcher.methods.byte_range import UNSATISFIABLE, parse_range


@pytest.mark.parametrize(
    ("header", "selected"),
    [
        (None, None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=0-0", (0, 1)),
        ("bytes = 2-99", (2, 10)),
        ("bytes=9-", (9, 10)),
        ("bytes=10-", UNSATISFIABLE),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=-0", UNSATISFIABLE),
    ],
)
def test_a_range_is_read(header: str | None, selected: Any) -> None:
    assert parse_range(header, 10) == selected
