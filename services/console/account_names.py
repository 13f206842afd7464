"""Names of accounts, remembered for a while: an event has only the id."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

import asyncpg

from shared.runtime.clock import Clock
from shared.store.people import names_of_accounts
from shared.store.pool import POSTGRES_ERRORS

_REMEMBERED_SECONDS = 60.0
_REMEMBERED_MAX = 20_000
_ASKED_AT_ONCE_MAX = 5_000
_SECONDS_MAX = 2.0


class AccountNames:
    def __init__(self, pool: asyncpg.Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._names: dict[str, str | None] = {}
        self._forget_at = 0.0

    async def of(self, account_ids: Iterable[str]) -> Mapping[str, str | None]:
        """None for the unknown; while the database is away they all may be."""
        now = self._clock.monotonic()
        if now > self._forget_at or len(self._names) > _REMEMBERED_MAX:
            self._names, self._forget_at = {}, now + _REMEMBERED_SECONDS
        wanted = set(account_ids)
        unknown = sorted(wanted - self._names.keys())[:_ASKED_AT_ONCE_MAX]
        if unknown:
            with contextlib.suppress(*POSTGRES_ERRORS):
                async with asyncio.timeout(_SECONDS_MAX):
                    found = await names_of_accounts(self._pool, unknown)
                self._names.update({one: found.get(one) for one in unknown})
        return {one: self._names.get(one) for one in wanted}
