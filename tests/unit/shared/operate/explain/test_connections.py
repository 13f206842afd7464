from typing import Any

import pytest

from shared.operate.connections import Moment
from shared.operate.explain.connections import judge_connection
from shared.operate.explain.evidence import AccessEvidence, LaterEvent
from shared.operate.explain.words import Reason, Verdict
from shared.runtime.clock import utc_text
from tests.support.evidence import SEQUENCE, after, connected, connection, cursor, event, frame


def judged(*moments: Moment, case: dict[str, Any] | None = None, **changes: Any) -> Verdict:
    return judge_connection(connected(connection=connection(*moments, **changes), **case or {}))


def test_not_appended_comes_first() -> None:
    assert judged(case={"event": event(sequence=None)}).reason is Reason.NOT_APPENDED


def test_sent() -> None:
    found = judged(frame(), Moment(at=utc_text(after(1)), kind="ping"))
    assert found.reason is Reason.TOLD
    assert found.headline.startswith("Sent 12:00:00Z, 20 ms after the commit")
    assert found.steps[-1].text == "120 octets, up to 1.abc.41"
    unknown = judged(frame(), case={"event": event(committed_at=None)})
    assert unknown.headline.startswith("Sent 12:00:00Z; TCP took it")


def test_sent_in_a_later_frame() -> None:
    newer = frame(1, SEQUENCE + 2, changed={"a1": {"Email": "s43"}}, merged=2)
    found = judged(newer)
    assert found.reason is Reason.TOLD_WITH_LATER
    assert "which told a newer state, 1.0 s after the commit" in found.headline
    assert found.steps[-1].text.endswith(", with 2 changes that waited")
    later = event(later=(LaterEvent(SEQUENCE + 1, {"Email": "s42"}),))
    assert "the newer state of event 42" in judged(newer, case={"event": later}).headline


def test_written_and_not_taken() -> None:
    found = judged(frame(), stalled_seconds=12.0, unsent_octets=70_000, pending=1)
    assert found.reason is Reason.STALLED
    assert found.headline == (
        "Waits: written, and the peer has taken nothing for 12.0 s; 70000 octets are written and "
        "not taken, 1 state wait behind them"
    )
    assert judged(frame(), stalled_seconds=12.0).reason is Reason.TOLD
    older = judged(frame(), frame(1, 50), stalled_seconds=12.0, unsent_octets=70_000)
    assert older.reason is Reason.TOLD


@pytest.mark.parametrize(
    ("end", "text"),
    [("client", "its client closed it, or went away"), (None, "for an unknown reason")],
)
def test_ended_before(end: str | None, text: str) -> None:
    found = judged(ended_at=utc_text(after(-5)), end_reason=end)
    assert found.reason is Reason.ENDED_BEFORE
    assert found.headline.endswith(f"5.0 s before (11:59:55Z): {text}")
    assert found.receiver.detail == "sse from 192.0.2.1, ended"


def test_opened_later() -> None:
    late: dict[str, Any] = {"opened_at": utc_text(after(5)), "joined_at": utc_text(after(5))}
    found = judged(**late)
    assert found.reason is Reason.OPENED_LATER
    assert found.steps[-1].text == "an event source, without a cursor"
    beyond = judged(**late, asked_cursor=cursor(SEQUENCE))
    assert beyond.reason is Reason.CURSOR_BEYOND
    assert beyond.advice[0].command == "tidings explain 41 --user ada"
    before = judged(**late, asked_cursor=cursor(SEQUENCE - 1))
    assert before.reason is Reason.UNEXPLAINED
    joining = judged(opened_at=utc_text(after(5)), joined_at=None)
    assert joining.reason is Reason.UNEXPLAINED


def test_push_was_not_enabled() -> None:
    never = judged(transport="websocket", types=(), joined_at=None)
    assert never.headline == "Not sent: push was not enabled on the WebSocket"
    later: dict[str, Any] = {"joined_at": utc_text(after(5)), "transport": "websocket"}
    enabled = judged(**later, asked_cursor=cursor(SEQUENCE))
    assert enabled.reason is Reason.PUSH_NOT_ENABLED
    assert enabled.headline.endswith("it was enabled 12:00:05Z")
    assert [step.what for step in enabled.steps] == [
        "opened",
        "committed",
        "appended",
        "enabled",
    ]
    behind = judged(**later, asked_cursor=cursor(SEQUENCE - 1))
    assert behind.reason is Reason.UNEXPLAINED, "it would have been told"
    disabled = judged(transport="websocket", types=())
    assert disabled.reason is Reason.PUSH_NOT_ENABLED


def test_filtered_and_not_allowed() -> None:
    assert judged(types=("Mailbox",), type_count=1).reason is Reason.FILTERED_BY_TYPE
    access = {"access": AccessEvidence(None)}
    assert judged(case=access).reason is Reason.NO_GRANT


def test_pending() -> None:
    pending: dict[str, Any] = {"pending_states": {"a1": {"Email": "s41"}}, "pending": 1}
    assert judged(**pending, pending_because="merging").reason is Reason.MERGING
    stalled = judged(**pending, pending_because="stalled", stalled_seconds=None)
    assert stalled.reason is Reason.STALLED
    assert "the peer has taken nothing for 0.0 s" in stalled.headline
    over = judged(
        **pending, pending_because="ended", ended_at=utc_text(after(5)), end_reason="client"
    )
    assert over.reason is Reason.ENDED_UNTOLD


def test_ended_before_it_was_told() -> None:
    found = judged(ended_at=utc_text(after(5)), end_reason="stalled", cursor=cursor(SEQUENCE))
    assert found.reason is Reason.ENDED_UNTOLD
    assert found.headline.endswith("before it was told: its peer took nothing for too long")
    many = judged(frame(30, 90), messages=40, ended_at=utc_text(after(40)), end_reason="client")
    assert many.reason is Reason.TOLD_NOT_KEPT


def test_told_and_forgotten() -> None:
    found = judged(frame(30, 90), messages=40)
    assert found.headline == (
        "Sent, before 12:00:30Z: all up to 1.abc.90 was; of its 40 frames the last 1 are remembered"
    )
    none = judged(messages=40, told_cursor=cursor(90))
    assert none.headline.startswith("Sent: all up to")


def test_a_gateway_that_is_behind() -> None:
    found = judged(case={"gateway_cursor": cursor(SEQUENCE - 1)})
    assert found.reason is Reason.GATEWAY_BEHIND
    assert judged(case={"gateway_cursor": None}).reason is Reason.GATEWAY_BEHIND


def test_what_no_rule_knows() -> None:
    assert judged().reason is Reason.UNEXPLAINED
