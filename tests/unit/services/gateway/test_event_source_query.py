"""RFC 8620 section 7.3: the variables of the event-source URL."""

import pytest

from services.gateway.event_source_query import (
    TYPES_MAX,
    EventSourceQuery,
    QueryError,
    event_source_query,
    types_from,
)


def test_the_variables_as_the_rfc_has_them() -> None:
    query = event_source_query("types=Email,CalendarEvent&closeafter=state&ping=120", None)

    assert query == EventSourceQuery(
        types=frozenset({"Email", "CalendarEvent"}), closes_after_state=True, ping_seconds=120
    )


def test_a_star_is_all_types() -> None:
    assert event_source_query("types=*&closeafter=no&ping=0", None) == EventSourceQuery()


def test_absent_variables_and_unknown_ones_are_no_error() -> None:
    assert event_source_query("", None) == EventSourceQuery()
    assert event_source_query("closeAfter=state&x=1&x=2&types=*", None) == EventSourceQuery()


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ("0", 0),
        ("00", 0),
        ("1", 30),
        ("30", 30),
        ("31", 31),
        ("300", 300),
        ("301", 300),
        ("9999999999999999", 300),
    ],
)
def test_ping_is_clamped_to_what_the_rfc_allows(asked: str, used: int) -> None:
    assert event_source_query(f"ping={asked}", None).ping_seconds == used


BAD_QUERIES = """
ping=abc ping= ping=-1 ping=1.5 ping=+5 ping=%D9%A3 ping=99999999999999999 ping=30&ping=60
types= types=Email, types=Email,,Mailbox types=*,Email types=Email%0A types=Em%20ail
types=*&types=Email closeafter= closeafter=maybe closeafter=State
"""


@pytest.mark.parametrize(
    "query", [*BAD_QUERIES.split(), "types=" + "a" * 256, "&".join(["a=1"] * 33)]
)
def test_what_is_none_of_the_allowed_values_is_refused(query: str) -> None:
    with pytest.raises(QueryError):
        event_source_query(query, None)


def test_the_header_wins_over_the_parameter() -> None:
    assert event_source_query("lastEventId=c1", "c2").cursor == "c2"
    assert event_source_query("lastEventId=c1", None).cursor == "c1"
    assert event_source_query("lastEventId=c1", "").cursor == "c1"
    assert event_source_query("lastEventId=", "").cursor is None


def test_a_hostile_cursor_is_cut_short_and_no_error() -> None:
    assert event_source_query("", "x" * 10_000).cursor == "x" * 256


def test_the_ticket_is_passed_on() -> None:
    assert event_source_query("ticket=t1", None).ticket == "t1"


def test_too_many_types_are_refused() -> None:
    with pytest.raises(QueryError):
        types_from(f"T{n}" for n in range(TYPES_MAX + 1))
