from hypothesis import given
from hypothesis import strategies as st

from shared.log.cursor import CURSOR_LENGTH_MAX, Cursor, decode_cursor, encode_cursor

epochs = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=26)


@given(epochs, st.integers(0, 10**19 - 1))
def test_a_cursor_survives_its_text_form(epoch: str, sequence: int) -> None:
    text = encode_cursor(Cursor(epoch, sequence))

    assert decode_cursor(text) == Cursor(epoch, sequence)
    assert len(text) <= CURSOR_LENGTH_MAX
    assert all("!" <= character <= "~" for character in text)


@given(st.text())
def test_what_decodes_was_written_by_this_version(text: str) -> None:
    cursor = decode_cursor(text)

    assert cursor is None or encode_cursor(cursor) == text


def test_an_endless_text_is_no_cursor() -> None:
    assert decode_cursor("1.a." + "1" * 100) is None
