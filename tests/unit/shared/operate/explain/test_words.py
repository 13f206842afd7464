import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.log.cursor import Cursor
from shared.operate.explain.words import (
    ByAccount,
    ByCursor,
    BySequence,
    Outcome,
    Reason,
    event_named,
    outcome_of,
)

ROOT = Path(__file__).parents[5]
TABLE_LINE = re.compile(r"\| `(\w+)` \| (\w+) \| .+ \| .+ \|")


def test_an_event_is_named_by_cursor_sequence_or_account() -> None:
    assert event_named("1.abc.41") == ByCursor(Cursor("abc", 41))
    assert event_named("41") == BySequence(41)
    assert event_named("ada") == ByAccount(account="ada")
    assert event_named("9" * 30) == ByAccount(account="9" * 30)
    assert event_named("²") == ByAccount(account="²"), "no digit of ASCII"
    since = datetime(2026, 1, 1, tzinfo=UTC)
    found = event_named("ada", type_="Email", since=since)
    assert found == ByAccount(account="ada", type="Email", since=since)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (Reason.TOLD_WITH_LATER, Outcome.TOLD),
        (Reason.BACKOFF, Outcome.WAITS),
        (Reason.FILTERED_BY_TYPE, Outcome.NOT_TOLD),
        (Reason.UNEXPLAINED, Outcome.UNKNOWN),
    ],
)
def test_each_reason_is_of_an_outcome(reason: Reason, outcome: Outcome) -> None:
    assert outcome_of(reason) is outcome


def test_the_table_of_reasons_is_complete_and_says_the_outcome() -> None:
    text = (ROOT / "docs/explain.md").read_text(encoding="utf-8")
    lines = [match.groups() for match in map(TABLE_LINE.fullmatch, text.splitlines()) if match]
    assert lines == [(reason.value, outcome_of(reason).value) for reason in Reason]


def test_each_reason_is_driven_on_a_real_system() -> None:
    folder = ROOT / "tests/integration/shared/operate"
    driven = "".join(path.read_text(encoding="utf-8") for path in folder.glob("test_explain_*.py"))
    missing = [reason.name for reason in Reason if f"Reason.{reason.name}" not in driven]
    assert not missing
