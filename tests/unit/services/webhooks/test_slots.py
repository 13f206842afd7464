from services.webhooks.slots import Group, SlotLimits, Slots

LIMITS = SlotLimits(healthy_max=2, troubled_max=1, slow_max=1, origin_max=2)


def test_healthy_and_troubled_lanes_have_slots_of_their_own() -> None:
    slots = Slots(LIMITS)

    slots.take("a", "o1", Group.HEALTHY)
    slots.take("b", "o1", Group.TROUBLED)

    assert slots.free(Group.HEALTHY) == 1
    assert slots.free(Group.TROUBLED) == 0
    assert len(slots) == 2


def test_a_lane_that_turns_slow_gives_its_healthy_slot_back() -> None:
    slots = Slots(LIMITS)
    slots.take("a", "o1", Group.HEALTHY)
    slots.take("b", "o2", Group.HEALTHY)

    slots.turn_slow("a")

    assert slots.free(Group.HEALTHY) == 1
    slots.turn_slow("b")  # there is no more room among the slow
    assert slots.sizes() == {Group.HEALTHY: 1, Group.TROUBLED: 0, Group.SLOW: 1}
    slots.give_back("a")
    slots.give_back("b")
    assert slots.sizes() == {Group.HEALTHY: 0, Group.TROUBLED: 0, Group.SLOW: 0}
    slots.turn_slow("a")  # its time came after its end
    assert slots.free(Group.SLOW) == 1


def test_lanes_that_fail_and_are_slow_leave_half_of_the_room_to_healthy_ones() -> None:
    slots = Slots(SlotLimits(healthy_max=9, troubled_max=2, slow_max=2, origin_max=9))
    slots.take("a", "o1", Group.TROUBLED)
    slots.take("b", "o1", Group.TROUBLED)
    slots.take("c", "o1", Group.HEALTHY)

    for lane in "abc":
        slots.turn_slow(lane)

    assert slots.sizes() == {Group.HEALTHY: 0, Group.TROUBLED: 1, Group.SLOW: 2}
    assert slots.free(Group.TROUBLED) == 1


def test_an_origin_has_room_for_what_it_does_not_have_yet() -> None:
    slots = Slots(LIMITS)
    slots.take("a", "o1", Group.HEALTHY)
    slots.take("b", "o1", Group.HEALTHY)
    slots.take("c", "o2", Group.HEALTHY)

    assert slots.busy_origins(Group.HEALTHY) == {"o1": 0, "o2": 1}
    slots.give_back("a")
    slots.give_back("c")
    assert slots.busy_origins(Group.HEALTHY) == {"o1": 1}


def test_lanes_that_fail_or_are_slow_take_no_room_of_the_healthy_ones_of_their_origin() -> None:
    slots = Slots(SlotLimits(healthy_max=9, troubled_max=9, slow_max=9, origin_max=3))
    slots.take("a", "o1", Group.TROUBLED)
    slots.take("b", "o1", Group.HEALTHY)
    slots.take("c", "o1", Group.HEALTHY)

    slots.turn_slow("b")

    assert slots.busy_origins(Group.HEALTHY) == {"o1": 2}
    assert slots.busy_origins(Group.TROUBLED) == {"o1": 1}
    assert slots.busy_origins(Group.SLOW) == {"o1": 1}


def test_an_origin_without_room_for_slow_lanes_gets_few_of_the_healthy_slots() -> None:
    """They could not turn slow, and would hold them for a whole deadline each."""
    slots = Slots(SlotLimits(healthy_max=200, troubled_max=64, slow_max=400, origin_max=100))
    for number in range(100):
        slots.take(f"black{number}", "o1", Group.HEALTHY)
        slots.turn_slow(f"black{number}")
    slots.take("other", "o2", Group.HEALTHY)

    assert slots.busy_origins(Group.HEALTHY) == {"o1": 10, "o2": 99}
    for number in range(12):  # as many as were claimed before the origin's room was known
        slots.take(f"more{number}", "o1", Group.HEALTHY)
    assert slots.busy_origins(Group.HEALTHY) == {"o1": 0, "o2": 99}
    slots.turn_slow("more0")
    assert slots.sizes()[Group.HEALTHY] == 13
    slots.give_back("black0")
    assert slots.busy_origins(Group.HEALTHY) == {"o1": 88, "o2": 99}


def test_there_is_a_bound_for_each_group() -> None:
    bounds = Slots(LIMITS).sizes_max()
    assert bounds == {Group.HEALTHY: 2, Group.TROUBLED: 1, Group.SLOW: 1}


def test_as_many_are_claimed_ahead_as_were_given_back_lately() -> None:
    slots = Slots(SlotLimits(healthy_max=4, troubled_max=2, slow_max=2, origin_max=9))
    for lane in "abcd":
        slots.take(lane, "o1", Group.HEALTHY)
    assert slots.room(Group.HEALTHY) == 0, "nobody says that a slot will be free"

    slots.claim_begins(Group.HEALTHY)
    for lane in "abc":
        slots.give_back(lane)
    assert slots.room(Group.HEALTHY) == 3 + 2, "half of the slots at most"
    slots.claim_begins(Group.HEALTHY)
    assert slots.room(Group.HEALTHY) == 3 + 2
    slots.take("e", "o1", Group.AHEAD)
    assert slots.room(Group.HEALTHY) == 3 + 1
    slots.claim_begins(Group.TROUBLED)
    assert slots.room(Group.HEALTHY) == 3 + 1, "that one takes no healthy slots"
    slots.claim_begins(Group.HEALTHY)
    assert slots.room(Group.HEALTHY) == 3, "all at work were held up between two claims"
    assert slots.room(Group.TROUBLED) == 2


def test_one_that_waits_has_its_origin_s_room_and_no_slot() -> None:
    slots = Slots(SlotLimits(healthy_max=4, troubled_max=2, slow_max=2, origin_max=3))
    slots.take("a", "o1", Group.HEALTHY)
    slots.take("b", "o1", Group.AHEAD)
    assert slots.busy_origins(Group.HEALTHY) == {"o1": 1}
    assert slots.sizes() == {Group.HEALTHY: 1, Group.TROUBLED: 0, Group.SLOW: 0}
    slots.begin("b")
    assert slots.sizes()[Group.HEALTHY] == 2
    slots.take("c", "o1", Group.AHEAD)
    slots.give_back("c")
    assert slots.busy_origins(Group.HEALTHY) == {"o1": 1}
    assert len(slots) == 2
