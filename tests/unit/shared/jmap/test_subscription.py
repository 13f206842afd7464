"""isSubscribed (RFC 9610 section 2, RFC 9670 section 4)."""

from shared.jmap.i_json import JsonObject
from shared.jmap.subscription import is_subscribed


def test_who_said_nothing_is_subscribed() -> None:
    assert is_subscribed({}, "u1")
    assert is_subscribed({"isSubscribed": {"u2": False}}, "u1")


def test_what_a_user_said_last_counts_for_that_user() -> None:
    stored: JsonObject = {"isSubscribed": {"u1": True, "u2": False}}
    assert is_subscribed(stored, "u1")
    assert not is_subscribed(stored, "u2")
