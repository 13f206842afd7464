"""The time, for those who may not look themselves: pure code is told `now`."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What adapters take, so that a test may bring its own."""

    def now(self) -> datetime:
        """Wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds; only differences mean something."""
        ...


class SystemClock:
    """The machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - the one place

    def monotonic(self) -> float:
        return time.monotonic()


def now_utc_text(clock: Clock | None = None) -> str:
    """RFC 3339 with milliseconds: 2026-01-01T00:00:00.000Z."""
    return utc_text((clock or SystemClock()).now())


def utc_text(at: datetime) -> str:
    """`at`, which is aware, in the same form."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
