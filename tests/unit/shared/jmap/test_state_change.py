import json

from hypothesis import given
from hypothesis import strategies as st

from shared.jmap.state_change import Changed, encode_state_change, parts_of

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
CHANGES = st.dictionaries(
    NAMES, st.dictionaries(NAMES, NAMES, min_size=1, max_size=6), min_size=1, max_size=6
)


def test_a_state_change_says_its_type_and_what_changed() -> None:
    body = encode_state_change({"a1": {"Email": "s1"}})

    assert json.loads(body) == {"@type": "StateChange", "changed": {"a1": {"Email": "s1"}}}


@given(CHANGES, st.integers(1, 400))
def test_parts_are_small_and_hold_together_what_the_whole_held(
    changed: Changed, octets_max: int
) -> None:
    parts = parts_of(changed, octets_max)

    together: dict[str, dict[str, str]] = {}
    for part in parts:
        single = sum(len(states) for states in part.values()) == 1
        assert single or len(encode_state_change(part)) <= octets_max
        for account_id, states in part.items():
            assert states
            assert not together.get(account_id, {}).keys() & states.keys()
            together.setdefault(account_id, {}).update(states)
    assert together == changed


def test_what_fits_is_one_part() -> None:
    changed = {"a1": {"Email": "s1"}, "a2": {"Email": "s1"}}
    size = len(encode_state_change(changed))

    assert parts_of(changed, size) == [changed]
    assert len(parts_of(changed, size - 1)) == 2
