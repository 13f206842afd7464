from services.cli.bench.report import Spread, limited_by, spread_of


def test_a_spread_has_values_that_were_measured_in_milliseconds() -> None:
    assert spread_of([n / 1000 for n in range(100, 0, -1)]) == Spread(51.0, 91.0, 100.0, 100.0)
    assert spread_of([0.0012345]) == Spread(1.234, 1.234, 1.234, 1.234)


def test_nothing_measured_has_no_spread() -> None:
    assert spread_of([]) is None


def test_what_limits_is_the_machine_or_a_program_of_one_thread_or_else_a_wait() -> None:
    assert "this machine; most of it is used by nats" in limited_by({"nats": 1.3, "bench": 0.6}, 2)
    assert limited_by({"tidings": 0.97, "nats": 0.1}, 4).startswith("the CPU of tidings")
    assert limited_by({"nats": 0.97, "tidings": 0.5}, 4).startswith("waiting")
    assert limited_by({}, 4).startswith("not known")
