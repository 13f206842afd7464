from datetime import UTC, datetime, timedelta

import pytest

from shared.operate.explain.wording import listed, moment, quoted, span, times, types_text

NOON = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)


def test_a_moment_has_its_date_where_that_is_not_todays() -> None:
    assert moment(NOON, NOON) == "12:00:05Z"
    assert moment(NOON - timedelta(days=1), NOON) == "2026-01-30 12:00:05Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 ms"),
        (0.0351, "35 ms"),
        (2.44, "2.4 s"),
        (303, "5 min 3 s"),
        (11_100, "3 h 5 min"),
        (187_300, "2 d 4 h"),
    ],
)
def test_a_span_has_two_units_at_most(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text


def test_lists_read_as_a_sentence() -> None:
    assert listed([]) == "nothing"
    assert listed({"Email"}) == "Email"
    assert listed(["Thread", "Email"]) == "Email and Thread"
    assert listed(["Thread", "Email", "Mailbox"]) == "Email, Mailbox and Thread"


def test_types_that_were_asked_for() -> None:
    assert types_text(None) == "all types"
    assert types_text(()) == "no type at all"
    assert types_text(("Mailbox",)) == "Mailbox only"


def test_counts() -> None:
    assert times(1, "failure") == "1 failure"
    assert times(3, "failure") == "3 failures"


def test_what_others_said_is_short_and_cannot_speak_to_the_terminal() -> None:
    assert quoted("a\x1b[31m\nb ") == "“a [31m b”"
    assert quoted("x" * 1000) == f"“{'x' * 120}…”"
