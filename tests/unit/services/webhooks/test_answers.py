"""P-18: what statuses and failures mean."""

import errno
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from socket import EAI_AGAIN, gaierror

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.answers import (
    Outcome,
    outcome_of_error,
    outcome_of_status,
    retry_after_seconds,
)

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("outcome", "statuses"),
    [
        (Outcome.ACCEPTED, [200, 201, 202, 204, 299]),
        (Outcome.REDIRECTED, [300, 301, 302, 303, 307, 308]),
        (Outcome.GONE, [404, 410]),
        (Outcome.THROTTLED, [429]),
        (Outcome.TOO_LARGE, [413]),
        (Outcome.UNAUTHORIZED, [401, 403]),
        (Outcome.REFUSED, [400, 402, 405, 415, 418, 451, 499]),
        (Outcome.UNAVAILABLE, [503]),
        (Outcome.SERVER_ERROR, [500, 502, 504, 599]),
        (Outcome.BROKEN, [0, 101, 199, 600, 999]),
    ],
)
def test_each_status_has_one_meaning(outcome: Outcome, statuses: list[int]) -> None:
    assert {outcome_of_status(status) for status in statuses} == {outcome}


@pytest.mark.parametrize(
    "code", [errno.EMFILE, errno.ENFILE, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENOBUFS]
)
def test_what_fails_here_is_not_the_endpoints_fault(code: int) -> None:
    assert outcome_of_error(OSError(code, "…"), Outcome.CONNECT_FAILED) is Outcome.EGRESS_FAILED


@pytest.mark.parametrize(
    "code", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ECONNRESET, errno.ETIMEDOUT]
)
def test_what_fails_there_is(code: int) -> None:
    assert outcome_of_error(OSError(code, "…"), Outcome.CONNECT_FAILED) is Outcome.CONNECT_FAILED
    assert outcome_of_error(OSError("several"), Outcome.DNS_FAILED) is Outcome.DNS_FAILED
    assert outcome_of_error(gaierror(EAI_AGAIN, "…"), Outcome.DNS_FAILED) is Outcome.DNS_FAILED


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("86400", 86_400),
        ("999999999999", 86_400),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
        ("Sunday, 22-Nov-26 12:01:00 GMT", 60),
        ("Sun Nov 22 12:01:00 2026", 60),
        ("Sun, 22 Nov 2026 12:00:30 -0000", 30),
        ("Sun, 22 Nov 2026 13:00:30 +0100", 30),
        ("Sun, 22 Nov 2026 11:59:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: int) -> None:
    assert retry_after_seconds(text, NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-1",
        "1.5",
        "1e3",
        "٣",
        "²",
        "12 s",
        "9" * 65,
        "Sun, 99 Nov 2026 12:00 GMT",
        "Mon, 01 Jan 10000 00:00:00 GMT",
        "0x10",
        "Sun, 22 Nov 2026 12:00:30 +99999999999",
    ],
)
def test_garbage_is_ignored(text: str) -> None:
    assert retry_after_seconds(text, NOW) is None


@given(st.text())
def test_any_header_gives_nothing_or_at_most_a_day(text: str) -> None:
    assert 0 <= (retry_after_seconds(text, NOW) or 0) <= 86_400


@given(st.integers(0, 86_400))
def test_a_date_means_the_seconds_until_then(seconds: int) -> None:
    text = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)

    assert retry_after_seconds(text, NOW) == seconds
