"""Why a lane of a webhook waits; pure."""

from enum import StrEnum


class WaitsFor(StrEnum):
    """Why a lane waits, for who must find out; nothing decides on it (docs/adr/0018)."""

    WINDOW = "window"  # the least time between two messages, after a 429
    BACKOFF = "backoff"
    RETRY_AFTER = "retry_after"  # the endpoint asked for it
    BREAKER = "breaker"  # its origin does not answer anybody
    OWN_FAULT = "own_fault"  # this machine could not send
    LOG_AWAY = "log_away"  # NATS or PostgreSQL could not be asked
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - another TIDINGS_SECRET_KEY
    CRASHED = "crashed"  # a bug of ours
    LEASE = "lease"  # many parts: the rest in another look
    SLOT = "slot"  # who had claimed it got no slot free in time
    ENDED = "ended"  # nothing may be sent to it any more
