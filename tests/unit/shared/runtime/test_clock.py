from datetime import datetime, timedelta, timezone

from shared.runtime.clock import SystemClock, now_utc_text, utc_text


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 1, 1, 1, 0, 0, 1999, tzinfo=timezone(timedelta(hours=1)))

    def monotonic(self) -> float:
        return 0.0


def test_time_is_told_in_utc_with_milliseconds() -> None:
    assert now_utc_text(StoppedClock()) == "2026-01-01T00:00:00.001Z"


def test_a_whole_second_keeps_its_milliseconds() -> None:
    at = datetime(2026, 1, 1, tzinfo=timezone(timedelta()))
    assert utc_text(at) == "2026-01-01T00:00:00.000Z"


def test_the_machine_has_a_clock() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta()
    assert clock.monotonic() <= clock.monotonic()
