from services.webhooks.breaker import Breaker

HALF = 0.5


def breaker_of() -> Breaker:
    return Breaker(lambda: HALF)


def fail(breaker: Breaker, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        breaker.failed("o", now)


def test_a_few_failures_do_not_open_it() -> None:
    breaker = breaker_of()
    fail(breaker, 4)

    assert breaker.seconds_to_wait("o", 0.0) == 0.0
    assert breaker.seconds_to_wait("another", 0.0) == 0.0


def test_five_failures_put_the_others_off_at_different_times() -> None:
    times = iter([0.0, 0.2, 0.9])
    breaker = Breaker(lambda: next(times))
    fail(breaker, 5)

    first, second = breaker.seconds_to_wait("o", 0.1), breaker.seconds_to_wait("o", 0.1)

    assert 0.4 < first < second


def test_after_a_while_one_probes_and_the_others_wait_for_it() -> None:
    breaker = breaker_of()
    fail(breaker, 5)

    assert breaker.seconds_to_wait("o", 1.0) == 0.0
    assert breaker.seconds_to_wait("o", 1.0) > 0.0
    breaker.failed("o", 1.0)
    assert breaker.seconds_to_wait("o", 1.5) > 0.0
    assert breaker.seconds_to_wait("o", 3.1) == 0.0


def test_a_probe_that_was_given_up_is_left_to_somebody_else() -> None:
    breaker = breaker_of()
    fail(breaker, 5)
    assert breaker.seconds_to_wait("o", 1.0) == 0.0

    breaker.gave_up("o")
    breaker.gave_up("unknown")

    assert breaker.seconds_to_wait("o", 1.0) == 0.0


def test_an_answer_closes_it() -> None:
    breaker = breaker_of()
    fail(breaker, 50)
    assert breaker.seconds_to_wait("o", 40.0) > 0.0

    breaker.reached("o")
    breaker.reached("o")

    assert breaker.seconds_to_wait("o", 40.0) == 0.0


def test_it_is_never_open_for_longer_than_a_minute() -> None:
    breaker = breaker_of()
    fail(breaker, 100)

    assert breaker.seconds_to_wait("o", 60.0) == 0.0


def test_it_remembers_a_bounded_number_of_origins() -> None:
    breaker = breaker_of()
    fail(breaker, 5)
    for number in range(10_000):
        breaker.failed(f"o{number}", 0.0)

    assert breaker.seconds_to_wait("o", 0.0) == 0.0
