import pytest

from shared.log.verdict import FIRST_SEQUENCE_GAP, Found, Health, Known, first_sequence, judge

KNOWN = Known("e1", 100, is_complete=True)


@pytest.mark.parametrize(
    ("known", "found", "health"),
    [
        (None, None, "new"),
        (None, Found("e1", 5), "foreign"),
        (None, Found(None, 0), "foreign"),
        (KNOWN, None, "lost"),
        (KNOWN, Found("e2", 500), "lost"),
        (KNOWN, Found(None, 500), "lost"),
        (KNOWN, Found("e1", 99), "lost"),
        (Known("e1", 100, is_complete=False), Found("e1", 100), "incomplete"),
        (Known("e1", 100, is_complete=False), Found("e1", 99), "lost"),
        (Known("e1", 100, is_complete=True, is_compared=False), Found("e1", 99), "lost"),
        (Known("e1", 100, is_complete=True, is_compared=False), Found("e1", 100), "uncompared"),
        (KNOWN, Found("e1", 100), "sound"),
        (KNOWN, Found("e1", 101), "sound"),
    ],
)
def test_a_stream_that_lost_anything_is_told_from_a_sound_one(
    known: Known | None, found: Found | None, health: Health
) -> None:
    verdict = judge(known, found)

    assert verdict.health == health
    assert bool(verdict.reason) is (health != "sound")


@pytest.mark.parametrize(
    ("known", "found", "first"),
    [
        (None, None, 1),
        (KNOWN, None, 100 + FIRST_SEQUENCE_GAP),
        (KNOWN, Found("e1", 40), 100 + FIRST_SEQUENCE_GAP),
        (KNOWN, Found("e2", 400), 400 + FIRST_SEQUENCE_GAP),
        (None, Found("e2", 7), 7 + FIRST_SEQUENCE_GAP),
    ],
)
def test_a_new_stream_starts_above_every_cursor(
    known: Known | None, found: Found | None, first: int
) -> None:
    assert first_sequence(known, found) == first
