"""When a lane may be tried again (RFC 8620 section 7.2: a 429 must make pushes fewer); pure.

There is no budget of attempts: what is told is computed anew each time, so a late attempt is as
good as an early one.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from services.webhooks.answers import Answer, Outcome
from shared.store.waits import WaitsFor

_BACKOFF_SECONDS_MIN = 1.0
_BACKOFF_SECONDS_MAX = 900.0
_BACKOFF_SECONDS_MAX_OF_OLD = 3600.0  # once it failed for a day
_OLD = timedelta(days=1)
_DOUBLINGS_MAX = 12
_RETRY_AFTER_JITTER = 0.2  # of it, so that those told the same time do not come together
_OWN_FAULT_SECONDS_MIN = 2.0
_OWN_FAULT_SECONDS_MAX = 60.0
_WINDOW_MS_MIN = 1_000
_WINDOW_MS_MAX = 300_000

Random = Callable[[], float]
"""Uniform in [0, 1)."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`window_ms` is the least time between two messages; it widens on 429."""

    failures: int = 0  # of the endpoint's, in a row
    failing_since: datetime | None = None  # whoever is to blame
    window_ms: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """The lane's health from now on, and how long it is not tried or told of something new.

    Seconds, not a time: PostgreSQL's clock says when they are over, whatever a worker's says.
    """

    health: Health
    wait_seconds: float | None
    waits_for: WaitsFor | None = None


def after_success(health: Health) -> Verdict:
    window = health.window_ms // 2
    window = window if window >= _WINDOW_MS_MIN else 0
    if not window:
        return Verdict(Health(), None)
    return Verdict(Health(window_ms=window), window / 1000, WaitsFor.WINDOW)


def after_failure(health: Health, answer: Answer, now: datetime, random: Random) -> Verdict:
    """Also says when a fault of our own is tried again, which the endpoint is not charged with."""
    since = health.failing_since or now
    if answer.outcome is Outcome.EGRESS_FAILED:
        kept = msgspec.structs.replace(health, failing_since=since)
        return Verdict(kept, _own_fault_seconds(now - since, random), WaitsFor.OWN_FAULT)
    window = health.window_ms
    if answer.outcome is Outcome.THROTTLED:
        window = min(max(_WINDOW_MS_MIN, window * 2), _WINDOW_MS_MAX)
    worse = Health(failures=health.failures + 1, failing_since=since, window_ms=window)
    delay, waits_for = max(
        (_backoff_seconds(health.failures, now - since, random), WaitsFor.BACKOFF),
        (_retry_after_seconds(answer, random), WaitsFor.RETRY_AFTER),
        (window / 1000, WaitsFor.WINDOW),
    )
    return Verdict(worse, delay, waits_for)


def _backoff_seconds(failures: int, failing: timedelta, random: Random) -> float:
    """Full jitter: anything up to the bound, which doubles."""
    most = _BACKOFF_SECONDS_MAX_OF_OLD if failing >= _OLD else _BACKOFF_SECONDS_MAX
    bound = min(most, _BACKOFF_SECONDS_MIN * (1 << min(failures + 1, _DOUBLINGS_MAX)))
    return max(_BACKOFF_SECONDS_MIN, bound * random())


def _own_fault_seconds(failing: timedelta, random: Random) -> float:
    """As long again as it has failed, within bounds.

    A network that this machine has no way to may be the endpoint's choice: it fails for ever.
    """
    base = min(max(_OWN_FAULT_SECONDS_MIN, failing.total_seconds()), _OWN_FAULT_SECONDS_MAX)
    return base * (1 + random())


def _retry_after_seconds(answer: Answer, random: Random) -> float:
    """A floor: never earlier than asked, which is a day at most, and a little later."""
    return (answer.retry_after_seconds or 0.0) * (1 + _RETRY_AFTER_JITTER * random())
