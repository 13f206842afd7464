"""Which services are there."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.remote.roster import (
    INSTANCES_MAX,
    RETURN_SECONDS,
    SILENCE_SECONDS,
    Roster,
)
from shared.method_service.contract import ServiceDescription


def service(name: str, *types: str, version: str = "1.0.0") -> ServiceDescription:
    return ServiceDescription(
        capability=f"urn:x:{name}", version=version, types=dict.fromkeys(types, ("get",))
    )


NOTES = service("notes", "Note")


def roster() -> Roster:
    return Roster(lambda found: "ours" if "Own" in found.types else None)


def test_a_service_is_there_until_its_last_instance_is_silent() -> None:
    found = roster()
    found.hear("i1", NOTES, 0.0)
    found.hear("i2", NOTES, 1.0)
    found.settle(1.0)
    assert found.services == {NOTES.capability: NOTES}
    assert found.instances(NOTES.capability) == 2
    found.settle(SILENCE_SECONDS + 0.5)
    assert found.instances(NOTES.capability) == 1
    found.hear("i2", NOTES, SILENCE_SECONDS + 0.5)
    found.settle(SILENCE_SECONDS * 2)
    assert NOTES.capability in found.services
    found.settle(SILENCE_SECONDS * 2 + 1)
    assert found.services == {}


def test_our_own_silence_is_nobody_elses() -> None:
    found = roster()
    found.hear("i1", NOTES, 0.0)
    found.settle(0.0)
    found.pardon(100.0)
    found.settle(100.0)
    assert NOTES.capability in found.services
    found.hear("i1", NOTES, 101.0)
    found.settle(100.0 + RETURN_SECONDS - 1)
    assert NOTES.capability in found.services
    found.settle(100.0 + RETURN_SECONDS + 1)
    assert found.services == {}


def test_what_the_server_has_itself_is_refused() -> None:
    found = roster()
    found.hear("i1", service("evil", "Own"), 0.0)
    found.settle(0.0)
    assert found.services == {}
    assert found.refused == {"urn:x:evil": "ours"}


def test_who_came_first_keeps_its_type() -> None:
    found = roster()
    found.hear("i1", service("notes", "Note"), 0.0)
    found.settle(0.0)
    found.hear("i2", service("a", "Note", "Other"), 1.0)
    found.settle(1.0)
    assert list(found.services) == ["urn:x:notes"]
    assert "Note" in found.refused["urn:x:a"]
    found.settle(SILENCE_SECONDS + 0.5)
    assert list(found.services) == ["urn:x:a"]
    assert found.refused == {}


def test_of_those_that_come_together_the_name_decides() -> None:
    for order in (("a", "b"), ("b", "a")):
        found = roster()
        for name in order:
            found.hear(name, service(name, "Note"), 0.0)
        found.settle(0.0)
        assert list(found.services) == ["urn:x:a"]


def test_the_newest_version_speaks() -> None:
    older, newer = NOTES, service("notes", "Note", "Tag", version="2.0.0")
    for order in ((older, newer), (newer, older)):
        found = roster()
        for number, description in enumerate(order):
            found.hear(f"i{number}", description, 0.0)
        found.settle(0.0)
        assert found.services == {NOTES.capability: newer}


def test_instances_are_bounded() -> None:
    found = roster()
    for number in range(INSTANCES_MAX + 10):
        found.hear(f"i{number}", NOTES, 0.0)
    assert found.instances(NOTES.capability) == INSTANCES_MAX
    found.hear("i0", msgspec.structs.replace(NOTES, version="1.0.1"), 0.0)
    found.settle(0.0)
    assert found.services[NOTES.capability].version == "1.0.1"


_HEARD = st.tuples(
    st.sampled_from("abcd"), st.sampled_from(["x", "y", "z"]), st.sampled_from(["A", "B", "C"])
)


@given(st.lists(st.one_of(_HEARD, st.floats(0, 3)), max_size=40))
def test_no_type_is_ever_with_two_services(steps: list[tuple[str, str, str] | float]) -> None:
    found, now = roster(), 0.0
    for step in steps:
        if isinstance(step, tuple):
            instance, name, type_name = step
            found.hear(instance, service(name, type_name), now)
        else:
            now += step
        before = dict(found.services)
        found.settle(now)
        types = [name for item in found.services.values() for name in item.types]
        assert len(types) == len(set(types))
        assert not found.services.keys() & found.refused.keys()
        for urn, description in before.items():  # nobody is pushed out
            if urn in found.refused:
                assert found.refused[urn]
                assert description.types
