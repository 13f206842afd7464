from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.webhooks.answers import Answer, Outcome
from services.webhooks.health import Health, after_failure, after_success

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FAILED = Answer(outcome=Outcome.SERVER_ERROR, status=500, milliseconds=1)


def test_success_forgets_the_failures() -> None:
    verdict = after_success(Health(failures=3, failing_since=NOW))

    assert verdict.health == Health()
    assert verdict.wait_seconds is None


def test_the_bound_of_the_backoff_doubles_up_to_a_quarter_of_an_hour() -> None:
    health, delays = Health(), []
    for _ in range(14):
        verdict = after_failure(health, FAILED, NOW, lambda: 1.0)
        health = verdict.health
        delays.append(verdict.wait_seconds)

    assert delays == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900, 900]
    assert health.failures == 14
    assert health.failing_since == NOW


def test_an_endpoint_that_failed_for_a_day_is_tried_every_hour() -> None:
    health = Health(failures=50, failing_since=NOW)

    verdict = after_failure(health, FAILED, NOW + timedelta(days=1), lambda: 1.0)

    assert verdict.wait_seconds == 3600


@given(st.integers(0, 60), st.floats(0, 1, exclude_max=True))
def test_a_failing_endpoint_is_never_tried_within_a_second(failures: int, chance: float) -> None:
    verdict = after_failure(Health(failures=failures), FAILED, NOW, lambda: chance)

    assert 1 <= (verdict.wait_seconds or 0) <= 900


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.UNAVAILABLE])
def test_retry_after_is_a_floor(outcome: Outcome) -> None:
    answer = Answer(outcome=outcome, status=429, milliseconds=1, retry_after_seconds=120)

    assert after_failure(Health(), answer, NOW, lambda: 0.0).wait_seconds == 120
    assert after_failure(Health(), answer, NOW, lambda: 0.5).wait_seconds == 132


def test_429_makes_pushes_fewer_and_success_makes_them_more_again() -> None:
    """P-18: 429 must reduce the push frequency."""
    throttled = Answer(outcome=Outcome.THROTTLED, status=429, milliseconds=1)
    health, windows = Health(), []
    for _ in range(11):
        health = after_failure(health, throttled, NOW, lambda: 0.0).health
        windows.append(health.window_ms)
    assert windows == [*(1000 * 2**n for n in range(9)), 300_000, 300_000]

    verdict = after_success(Health(window_ms=4000, failures=1, failing_since=NOW))
    assert verdict.health == Health(window_ms=2000)
    assert verdict.wait_seconds == 2
    verdict = after_success(Health(window_ms=1500))
    assert verdict.health == Health()
    assert verdict.wait_seconds is None


def test_a_fault_of_our_own_is_not_the_endpoints() -> None:
    answer = Answer(outcome=Outcome.EGRESS_FAILED, status=None, milliseconds=1)
    health = Health(failures=2, failing_since=NOW)

    verdict = after_failure(health, answer, NOW, lambda: 0.5)

    assert verdict.health == health
    assert verdict.wait_seconds == 3


def test_a_fault_of_our_own_that_lasts_is_tried_ever_more_rarely_and_each_minute_or_two() -> None:
    """Such as an endpoint in a network that this machine has no way to."""
    answer = Answer(outcome=Outcome.EGRESS_FAILED, status=None, milliseconds=1)
    health, now, waits = Health(), NOW, []
    for _ in range(8):
        verdict = after_failure(health, answer, now, lambda: 0.5)
        waits.append(verdict.wait_seconds or 0.0)
        health, now = verdict.health, now + timedelta(seconds=waits[-1])

    assert waits == [3, 4.5, 11.25, 28.125, 70.3125, 90, 90, 90]
    assert health == Health(failing_since=NOW)
    assert after_success(health).health == Health()
