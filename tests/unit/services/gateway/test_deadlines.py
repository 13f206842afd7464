import math

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.deadlines import Deadlines


def test_what_was_taken_out_is_not_due() -> None:
    deadlines: Deadlines[str] = Deadlines(0.25)
    key = deadlines.put("a", 1.0)
    deadlines.put("b", 1.0)

    deadlines.discard("a", key)

    assert deadlines.due(10.0) == ["b"]
    deadlines.discard("b", key)  # its bucket is gone: nothing to do
    assert deadlines.due(10.0) == []


def test_never_is_never_due() -> None:
    deadlines: Deadlines[str] = Deadlines(0.25)

    assert deadlines.put("a", math.inf) is None
    deadlines.discard("a", None)
    assert deadlines.due(1e12) == []


@given(
    st.lists(st.floats(0, 1000), max_size=30),
    st.lists(st.floats(0, 1200), min_size=1, max_size=30),
)
def test_a_thing_comes_due_once_never_early_and_at_most_one_bucket_late(
    deadlines_at: list[float], looks: list[float]
) -> None:
    deadlines: Deadlines[int] = Deadlines(0.25)
    for thing, at in enumerate(deadlines_at):
        deadlines.put(thing, at)
    taken_at: dict[int, float] = {}
    for now in sorted(looks):
        for thing in deadlines.due(now):
            assert thing not in taken_at
            taken_at[thing] = now
            assert deadlines_at[thing] <= now
        late = [t for t, at in enumerate(deadlines_at) if at + 0.25 <= now and t not in taken_at]
        assert late == []
