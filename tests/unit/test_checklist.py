"""Every line of the checklist, of JMAP and of webhooks, is named by a test of the real server."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINES = (
    [f"C-0{digit}" for digit in range(1, 8)]
    + [f"C-1{digit}" for digit in range(6)]
    + [f"C-2{digit}" for digit in "0123456789ab"]
    + [f"C-3{digit}" for digit in range(7)]
    + [f"C-4{digit}" for digit in range(4)]
    + [f"P-1{digit}" for digit in range(10)]
    + [f"P-2{digit}" for digit in range(5)]
    + [f"P-3{digit}" for digit in range(10)]
    + [f"P-4{digit}" for digit in range(3)]
    + [f"V-0{digit}" for digit in range(1, 5)]
)


def test_every_checklist_line_is_named_by_a_test() -> None:
    named: set[str] = set()
    for folder in ("integration", "end_to_end"):
        for path in (ROOT / folder).rglob("test_*.py"):
            named |= set(
                re.findall(
                    r"C-[0-4][0-9ab]|P-[1-4][0-9]|V-0[1-4]", path.read_text(encoding="utf-8")
                )
            )
    assert not set(LINES) - named
