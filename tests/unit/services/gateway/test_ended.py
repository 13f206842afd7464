from services.gateway.ended import KEPT_SECONDS, OF_USER_MAX, EndedConnections
from services.gateway.record import EndedConnection
from tests.support.recorded import OpenConnection


def ended(number: int, user: str = "anna", at: float = 0.0) -> EndedConnection:
    return EndedConnection(OpenConnection(number, user), at)


def numbers(kept: EndedConnections) -> list[int]:
    return [record.number for record in kept.newest_first()]


def test_the_newest_are_kept() -> None:
    kept = EndedConnections(3)
    for number in range(1, 6):
        kept.add(ended(number, f"u{number}"))

    assert numbers(kept) == [5, 4, 3]
    assert len(kept) == 3
    assert kept.get(3) is not None
    assert kept.get(2) is None


def test_they_are_kept_for_a_while() -> None:
    kept = EndedConnections(10)
    kept.add(ended(1, at=5.0))
    kept.add(ended(2, at=6.0))
    kept.forget_old(5.0 + KEPT_SECONDS - 0.1)
    assert numbers(kept) == [2, 1]

    kept.forget_old(5.0 + KEPT_SECONDS)
    assert numbers(kept) == [2]

    kept.add(ended(3, at=2000.0))
    assert numbers(kept) == [3]


def test_who_comes_and_goes_all_the_time_does_not_displace_others() -> None:
    kept = EndedConnections(100)
    kept.add(ended(1, "quiet"))
    for number in range(2, 1000):
        kept.add(ended(number, "restless"))

    assert numbers(kept) == [*range(999, 999 - OF_USER_MAX, -1), 1]


def test_none_may_be_kept() -> None:
    kept = EndedConnections(0)
    for number in range(1, 50):
        kept.add(ended(number))

    assert len(kept) == 0
    assert not kept._by_user
