"""What is in the stream and is no event must not stop what comes after it."""

import logging

import pytest

from shared.log.event import Event
from shared.log.stored import stored_event


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"changed":{},"unchanged":{},"at":"\xff"}',
        b'{"x":' + b"[" * 50_000,
    ],
)
def test_a_body_that_is_no_event_changed_nothing(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        stored = stored_event("tidings.event.a1", 7, body)
    assert (stored.sequence, stored.event) == (7, Event(changed={}, unchanged={}, at=""))
    assert [record.message for record in caplog.records] == ["event_unreadable"]
