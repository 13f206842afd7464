import pytest

from shared.operate.pace import Pace, speed_of

FIRST = "2026-01-01T00:00:00.000Z"
LATER = "2026-01-01T00:00:20.000Z"


def test_at_the_original_speed_events_keep_their_distance() -> None:
    pace = Pace(1)

    assert pace.seconds_to_wait(FIRST, 100.0) == 0
    assert pace.seconds_to_wait(LATER, 105.0) == 15.0


def test_a_scaled_speed_divides_the_distance() -> None:
    pace = Pace(10)

    assert pace.seconds_to_wait(FIRST, 100.0) == 0
    assert pace.seconds_to_wait(LATER, 100.0) == 2.0


def test_what_is_late_or_went_back_in_time_is_due_at_once() -> None:
    pace = Pace(1)
    pace.seconds_to_wait(LATER, 100.0)

    assert pace.seconds_to_wait(FIRST, 100.0) == 0
    assert pace.seconds_to_wait(LATER, 500.0) == 0


def test_full_speed_never_waits() -> None:
    pace = Pace(None)
    pace.seconds_to_wait(FIRST, 0.0)

    assert pace.seconds_to_wait(LATER, 0.0) == 0


def test_an_event_that_could_not_be_read_has_no_time_and_is_due_at_once() -> None:
    assert Pace(1).seconds_to_wait("", 0.0) == 0


@pytest.mark.parametrize(("text", "speed"), [("full", None), ("original", 1.0), ("10", 10.0)])
def test_a_speed_is_a_word_or_a_number(text: str, speed: float | None) -> None:
    assert speed_of(text) == speed


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "nan", "inf", "1e7"])
def test_any_other_speed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="none of full, original"):
        speed_of(text)
