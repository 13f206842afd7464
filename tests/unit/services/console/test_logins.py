from services.console.logins import FailedLogins


def test_who_failed_too_often_waits_until_the_oldest_failure_is_a_minute_ago() -> None:
    failed = FailedLogins(max_per_minute=2)
    failed.note("a", 100.0)
    assert failed.seconds_to_wait("a", 101.0) == 0
    failed.note("a", 110.0)
    assert failed.seconds_to_wait("a", 120.0) == 40.0
    assert failed.seconds_to_wait("b", 120.0) == 0
    assert failed.seconds_to_wait("a", 161.0) == 0


def test_what_did_not_fail_is_taken_back() -> None:
    failed = FailedLogins(max_per_minute=1)
    failed.note("a", 100.0)
    failed.take_back("a", 100.0)
    failed.take_back("b", 100.0)
    assert failed.seconds_to_wait("a", 101.0) == 0


def test_very_many_addresses_push_out_the_oldest() -> None:
    failed = FailedLogins(max_per_minute=1)
    for number in range(10_001):
        failed.note(str(number), 1.0)
    assert failed.seconds_to_wait("0", 1.0) == 0
    assert failed.seconds_to_wait("1", 1.0) > 0
