"""Whether whoever asked may still ask: for answers that outlive their request."""

import asyncio

from services.console.entrance import Entrance, Operator
from shared.runtime.clock import Clock
from shared.store.pool import POSTGRES_ERRORS

LOOK_SECONDS = 2.0
_UNKNOWN_SECONDS_MAX = 30.0  # for which nobody can say, as the database is away


class CredentialWatch:
    """Ask it often: it looks now and then."""

    def __init__(self, entrance: Entrance, operator: Operator, clock: Clock) -> None:
        self._entrance = entrance
        self._operator = operator
        self._clock = clock
        self._known_at = self._looked_at = clock.monotonic()

    async def is_good(self) -> bool:
        now = self._clock.monotonic()
        if now < self._looked_at + LOOK_SECONDS:
            return True
        self._looked_at = now
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                is_good = await self._entrance.is_still_in(self._operator)
        except POSTGRES_ERRORS:
            return now < self._known_at + _UNKNOWN_SECONDS_MAX
        self._known_at = now
        return is_good
