"""A range of the log, sent again event by event (docs/adr/0014)."""

import asyncio
from collections import Counter
from typing import Protocol

import msgspec

from shared.log.cursor import Cursor, encode_cursor
from shared.log.event import StoredEvent
from shared.log.history import History
from shared.operate.event_lines import EventLine, event_line
from shared.operate.event_range import EventRange
from shared.operate.pace import Pace
from shared.runtime.clock import Clock


class Target(Protocol):
    async def send(self, line: EventLine) -> str | None:
        """Why the event was left out; None: it was sent. Raises ReplayStoppedError."""


class ReplayStoppedError(Exception):
    """The event was not taken, so nothing more is sent; says why."""


class ReplayRefusedError(Exception):
    """Nothing may be sent there; says why."""


class Report(msgspec.Struct):
    """What has become of a replay so far; `cursor`: everything up to it was dealt with."""

    cursor: str
    sent: int = 0
    left_out: Counter[str] = msgspec.field(default_factory=Counter)

    def text(self, *, is_dry: bool) -> str:
        total = self.left_out.total()
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.left_out.items()))
        done = "Would replay" if is_dry else "Replayed"
        left_out = f", left out {total} ({reasons})" if total else ""
        return f"{done} {self.sent} events{left_out}. Go on with: --after {self.cursor}"


class Nowhere:
    """For a dry run."""

    async def send(self, line: EventLine) -> str | None:  # noqa: ARG002 - as others
        return None


def report_from(epoch: str, wanted: EventRange) -> Report:
    return Report(cursor=encode_cursor(Cursor(epoch, wanted.place.after)))


async def replay_range(
    history: History, wanted: EventRange, pace: Pace, target: Target, report: Report, clock: Clock
) -> None:
    """One after the other; what was interrupted is sent again by who goes on from the report.

    Raises ReplayStoppedError, and what the target raises.
    """

    async def pass_on(epoch: str, account_id: str, stored: StoredEvent) -> None:
        line = event_line(epoch, account_id, stored)
        if wanted.filter.passes(account_id, stored):
            if wait := pace.seconds_to_wait(stored.event.at, clock.monotonic()):
                await asyncio.sleep(wait)
            reason = await target.send(line)
            if reason is None:
                report.sent += 1
            else:
                report.left_out[reason] += 1
        report.cursor = line.cursor

    async for batch in history.batches():
        epoch = history.epoch  # of these; it may be another one before they all are sent
        for account_id, stored in batch:
            await pass_on(epoch, account_id, stored)
        await asyncio.sleep(0)  # a full-speed replay can be interrupted, too
