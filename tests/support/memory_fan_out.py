"""A fan-out over a list in memory; passes the contract suite of the real one."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Literal

import msgspec


class MemoryUpdate(msgspec.Struct, frozen=True):
    account_id: str
    changed: dict[str, str]
    cursor: str


class MemoryJoined(msgspec.Struct, frozen=True):
    changed: Mapping[str, Mapping[str, str]]
    cursor: str
    outcome: Literal["fresh", "resumed", "reset"]


class _Member:
    def __init__(self, listener: object, account_ids: Collection[str], position: int) -> None:
        self.listener = listener
        self.account_ids = set(account_ids)
        self.position = position
        self.is_live = False


class MemoryFanOut:
    def __init__(self) -> None:
        self._log: list[tuple[str, dict[str, str]]] = []
        self._members: list[_Member] = []
        self.failure: Exception | None = None  # what `join` raises
        self.delay: asyncio.Event | None = None  # what `join` waits for

    @property
    def cursor(self) -> str:
        return self._cursor(len(self._log))

    @property
    def listeners(self) -> int:
        return len(self._members)

    def append(self, account_id: str, **states: str) -> str:
        """Tell who listens; returns the cursor behind it."""
        self._log.append((account_id, states))
        update = MemoryUpdate(account_id, states, self.cursor)
        for member in list(self._members):
            if member.is_live and account_id in member.account_ids:
                member.listener.receive(update)  # type: ignore[attr-defined]
        return self.cursor

    async def join(
        self, listener: object, account_ids: Collection[str], cursor: str | None
    ) -> MemoryJoined:
        if self.delay is not None:
            await self.delay.wait()
        if self.failure is not None:
            raise self.failure
        since, outcome = self._understood(cursor)
        missed: dict[str, dict[str, str]] = {}
        for account_id, states in self._log[since:]:
            if account_id in account_ids:
                missed.setdefault(account_id, {}).update(states)
        member = _Member(listener, account_ids, len(self._log))
        self._members.append(member)
        asyncio.get_running_loop().call_soon(self._go_live, member)
        return MemoryJoined(missed, self.cursor, outcome)

    def leave(self, listener: object, account_ids: Collection[str] | None = None) -> None:
        for member in list(self._members):
            if member.listener is listener:
                member.account_ids -= set(
                    member.account_ids if account_ids is None else account_ids
                )
                if not member.account_ids:
                    self._members.remove(member)

    def resynchronise_all(self) -> None:
        for member in list(self._members):
            member.listener.resynchronise()  # type: ignore[attr-defined]

    def _go_live(self, member: _Member) -> None:
        member.is_live = True
        for position in range(member.position, len(self._log)):
            account_id, states = self._log[position]
            if account_id in member.account_ids:
                update = MemoryUpdate(account_id, states, self._cursor(position + 1))
                member.listener.receive(update)  # type: ignore[attr-defined]

    def _understood(self, cursor: str | None) -> tuple[int, Literal["fresh", "resumed", "reset"]]:
        if cursor is None:
            return len(self._log), "fresh"
        digits = cursor.removeprefix("m.")
        if cursor.startswith("m.") and digits.isdigit() and 0 < int(digits) <= len(self._log):
            return int(digits), "resumed"
        return 0, "reset"

    @staticmethod
    def _cursor(position: int) -> str:
        return f"m.{position}"
