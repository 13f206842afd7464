from services.webhooks.breaker import Breaker

HALF = 0.5


def breaker_of() -> Breaker:
    return Breaker(lambda: HALF)


def fail(breaker: Breaker, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        breaker.failed("o", now, began_at=now)


def wait(breaker: Breaker, now: float, *, is_healthy: bool = False) -> float:
    return breaker.ask("o", now, is_healthy=is_healthy).seconds_to_wait


def test_a_few_failures_do_not_open_it() -> None:
    breaker = breaker_of()
    fail(breaker, 4)

    assert wait(breaker, 0.0) == 0.0
    assert breaker.ask("another", 0.0, is_healthy=False).seconds_to_wait == 0.0


def test_five_failures_put_the_others_off_at_different_times() -> None:
    times = iter([0.0, 0.2, 0.9])
    breaker = Breaker(lambda: next(times))
    fail(breaker, 5)

    first, second = wait(breaker, 0.1), wait(breaker, 0.1)

    assert 0.4 < first < second


def test_after_a_while_one_probes_and_the_others_wait_for_it() -> None:
    breaker = breaker_of()
    fail(breaker, 5)

    probe = breaker.ask("o", 1.0, is_healthy=False)
    assert probe.seconds_to_wait == 0.0
    assert wait(breaker, 1.0) > 0.0
    fail(breaker, 1, 1.0)
    breaker.give_back("o", probe)
    assert wait(breaker, 1.5) > 0.0
    assert wait(breaker, 3.1) == 0.0


def test_a_probe_that_was_given_up_is_left_to_somebody_else() -> None:
    breaker = breaker_of()
    fail(breaker, 5)
    probe = breaker.ask("o", 1.0, is_healthy=False)

    breaker.give_back("o", probe)
    breaker.give_back("unknown", probe)

    assert wait(breaker, 1.0) == 0.0


def test_looks_that_are_no_probe_end_without_letting_another_one_probe() -> None:
    breaker = breaker_of()
    earlier = breaker.ask("o", 0.0, is_healthy=True)  # before it opened
    fail(breaker, 5)
    assert wait(breaker, 1.0) == 0.0
    healthy_probe = breaker.ask("o", 1.0, is_healthy=True)
    assert healthy_probe.seconds_to_wait == 0.0

    fail(breaker, 1, 1.0)
    breaker.give_back("o", earlier)

    assert wait(breaker, 100.0) > 0.0
    assert wait(breaker, 100.0, is_healthy=True) > 0.0
    breaker.give_back("o", healthy_probe)
    assert wait(breaker, 100.0) > 0.0
    assert wait(breaker, 100.0, is_healthy=True) == 0.0


def test_an_answer_closes_it() -> None:
    breaker = breaker_of()
    fail(breaker, 50)
    assert wait(breaker, 40.0) > 0.0

    breaker.reached("o", 40.0)
    breaker.reached("o", 40.0)

    assert wait(breaker, 40.0) == 0.0


def test_it_is_never_open_for_longer_than_a_minute() -> None:
    breaker = breaker_of()
    fail(breaker, 100)

    assert wait(breaker, 60.0) == 0.0


def test_it_remembers_a_bounded_number_of_origins() -> None:
    breaker = breaker_of()
    fail(breaker, 5)
    for number in range(10_000):
        breaker.failed(f"o{number}", 0.0, began_at=0.0)

    assert wait(breaker, 0.0) == 0.0


def test_black_holes_do_not_speak_for_an_origin_that_answers_others() -> None:
    breaker = breaker_of()
    for _ in range(100):
        breaker.reached("o", 10.0)
        breaker.failed("o", 15.0, began_at=0.0)

    assert wait(breaker, 15.0) == 0.0
    for _ in range(5):
        breaker.failed("o", 30.0, began_at=15.0)
    assert wait(breaker, 30.0) > 0.0


def test_a_lane_in_good_health_does_not_wait_for_the_probes_of_those_that_fail() -> None:
    breaker = breaker_of()
    fail(breaker, 50)
    assert wait(breaker, 1.0) > 0.0

    assert wait(breaker, 1.0, is_healthy=True) == 0.0
    assert wait(breaker, 1.0, is_healthy=True) > 0.0  # one at a time, should all be down
    assert wait(breaker, 100.0, is_healthy=True) > 0.0
    assert wait(breaker, 100.0) == 0.0


def test_it_remembers_a_bounded_number_of_origins_that_answer() -> None:
    breaker = breaker_of()
    breaker.reached("o", 1.0)
    for number in range(10_000):
        breaker.reached(f"o{number}", 2.0)
    for _ in range(5):
        breaker.failed("o", 1.0, began_at=0.0)

    assert wait(breaker, 1.0) > 0.0


def test_origins_that_are_spared_are_counted() -> None:
    breaker = breaker_of()
    fail(breaker, 4)
    assert breaker.open_origins() == 0
    fail(breaker, 1)
    assert breaker.open_origins() == 1
    breaker.reached("o", 2.0)
    assert breaker.open_origins() == 0
