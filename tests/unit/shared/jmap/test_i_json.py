"""What is refused here is refused as `notJSON` (RFC 8620 section 3.6.1; checklist C-04)."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jmap.i_json import DEPTH_MAX, INT_MAX, NotIJsonError, decode_i_json, encode_json

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-INT_MAX, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_what_is_encoded_is_decoded_the_same(value: object) -> None:
    assert decode_i_json(encode_json(value)) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_not_i_json(body: bytes) -> None:
    try:
        decode_i_json(body)
    except NotIJsonError:
        return
    json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nul",
        b'{"a":1,"a":2}',
        b'{"a":[{"b":1,"b":1}]}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b'"\\ud800"',
        b'{"\\uDC00":1}',
        b'"\\ud83d\\u0041"',
        b"9007199254740992",
        b"-9007199254740992",
        b"1" * 5000,
        b"1e400",
        b"NaN",
        b"-Infinity",
        b"01",
        b"1 2",
        b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1),
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"[" * 65 + b'"\\',
        b"[" * 65 + b'"',
    ],
)
def test_what_is_no_i_json_is_refused(body: bytes) -> None:
    with pytest.raises(NotIJsonError):
        decode_i_json(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        (b"9007199254740991", INT_MAX),
        (b"-9007199254740991", -INT_MAX),
        (b'"\\u0000"', "\0"),
        (b'"' + b"[" * 1000 + b'\\""', "[" * 1000 + '"'),
        (b"[" + b"[]," * 1000 + b"{}]", [*([[]] * 1000), {}]),
    ],
)
def test_what_is_i_json_is_read(body: bytes, value: object) -> None:
    assert decode_i_json(body) == value


def test_depth_is_allowed_up_to_the_limit() -> None:
    assert decode_i_json(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)


def test_strings_that_do_not_end_cost_no_more_than_what_they_are_long() -> None:
    def seconds(quotes: int) -> float:
        body = b"[" * (DEPTH_MAX + 1) + b'"' + b'\\"' * quotes
        began = time.process_time()
        with pytest.raises(NotIJsonError):
            decode_i_json(body)
        return time.process_time() - began

    short = min(seconds(5_000) for _ in range(3))
    assert min(seconds(100_000) for _ in range(3)) < max(short, 0.0005) * 100  # in squares: 400
