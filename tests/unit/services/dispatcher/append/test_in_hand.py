"""How much is in hand at once."""

from contextlib import ExitStack

import pytest

from services.dispatcher.append.in_hand import InHand, InHandLimits
from shared.jmap.errors import RequestError

LIMITS = InHandLimits(requests_max=3, requests_of_user_max=2, octets_max=100, octets_of_user_max=70)


def refused(in_hand: InHand, user_id: str, octets: int) -> int:
    with pytest.raises(RequestError) as raised, in_hand.one(user_id, octets):
        pass
    return raised.value.http_status


def test_one_user_cannot_take_all_of_it() -> None:
    in_hand = InHand(LIMITS)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(in_hand.one("u1", 1))
        assert refused(in_hand, "u1", 1) == 429
        stack.enter_context(in_hand.one("u2", 1))
        assert in_hand.requests == 3
        assert refused(in_hand, "u3", 1) == 503
    assert in_hand.requests == 0
    with in_hand.one("u1", 1):
        pass


def test_octets_are_bounded_but_a_lone_request_is_always_taken() -> None:
    in_hand = InHand(LIMITS)
    with in_hand.one("u1", 1000):
        assert refused(in_hand, "u2", 1) == 503
    with in_hand.one("u1", 60), in_hand.one("u2", 40):
        assert refused(in_hand, "u2", 1) == 503


def test_large_requests_of_one_leave_room_to_others() -> None:
    in_hand = InHand(LIMITS)
    with in_hand.one("u1", 60):
        assert refused(in_hand, "u1", 11) == 429
        with in_hand.one("u1", 10), in_hand.one("u2", 30):
            assert in_hand.requests == 3
    with in_hand.one("u1", 70):
        pass
