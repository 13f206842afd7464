"""Ids and dates (RFC 8620 sections 1.2 and 1.4; checklist C-01, C-03)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jmap.ids import (
    id_from,
    is_date,
    is_id,
    is_utc_date,
    modseq_of,
    moment_of,
    state_token,
    utc_date,
)


@given(st.binary(max_size=100))
def test_a_made_id_is_an_id_that_starts_with_its_letter(entropy: bytes) -> None:
    made = id_from("c", entropy)
    assert is_id(made)
    assert made.startswith("c")
    assert made == made.lower()


@pytest.mark.parametrize("text", ["", "a b", "a\n", "\u00e9", "a" * 256, "#a", None, 7])
def test_what_is_no_id(text: object) -> None:
    assert not is_id(text)


@given(st.integers(0, 10**17))
def test_a_state_token_is_read_back(modseq: int) -> None:
    assert modseq_of(state_token(modseq)) == modseq


@pytest.mark.parametrize("token", ["", "7", "s", "s01", "s-1", "s1 ", "s\u0661", "s" + "9" * 30])
def test_what_is_no_state_token(token: str) -> None:
    assert modseq_of(token) is None


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_written_date_is_a_date(moment: datetime) -> None:
    assert is_utc_date(utc_date(moment))


@pytest.mark.parametrize(
    "text", ["2014-10-30T14:12:00+08:00", "2014-10-30T06:12:00Z", "2016-12-31T23:59:60.5Z"]
)
def test_what_is_a_date(text: str) -> None:
    assert is_date(text)
    assert is_utc_date(text) is text.endswith("Z")


@pytest.mark.parametrize(
    "text",
    [
        "2014-10-30t06:12:00Z",
        "2014-10-30T06:12:00z",
        "2014-10-30T06:12:00.000Z",
        "2014-02-30T06:12:00Z",
        "2014-10-30T24:12:00Z",
        "2014-10-30T06:12:61Z",
        "2014-10-30",
        "2014-10-30T06:12:00",
        None,
        7,
    ],
)
def test_what_is_no_date(text: object) -> None:
    assert not is_date(text)
    assert not is_utc_date(text)


def test_dates_are_written_in_utc() -> None:
    moment = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert utc_date(moment) == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1234567Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_utc_date_is_a_moment(text: str, moment: datetime) -> None:
    assert is_utc_date(text)
    assert moment_of(text) == moment
