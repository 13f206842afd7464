"""Whether somebody is subscribed to a record that may be shared (RFC 9670 section 4)."""

from shared.jmap.i_json import JsonObject

IS_SUBSCRIBED = "isSubscribed"
"""In a stored record: user -> what that user said last."""


def is_subscribed(stored: JsonObject, user_id: str) -> bool:
    """True until the user says no (docs/adr/0010).

    RFC 9610 would have it false in accounts of others. But an account in which somebody is
    subscribed to nothing must not be in the session (RFC 9670 section 1.4): whoever was given an
    account would not see it.
    """
    said = stored.get(IS_SUBSCRIBED)
    return said.get(user_id) is not False if isinstance(said, dict) else True
