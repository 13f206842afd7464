"""A part of the log, sent again to a push subscription (docs/adr/0014).

The answer is a line of JSON now and then, while it goes on: it ends when whoever asked goes away,
or may no longer ask.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Protocol

import asyncpg
import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from services.console.credential_watch import CredentialWatch
from services.console.endpoints import Endpoint, audit
from services.console.entrance import Entrance, Operator, read_json
from services.console.event_history import EventHistory
from services.console.query import plain
from services.console.refusals import RETRY_SECONDS, Refusal
from services.console.taken_stream import TakenStream
from shared.bus.connection import Bus, BusUnavailableError
from shared.bus.jetstream import JetStreamError
from shared.log.history import open_history
from shared.operate.event_range import EventRange, RangeOptions, event_range
from shared.operate.pace import Pace, speed_of
from shared.operate.replaying import (
    ReplayRefusedError,
    ReplayStoppedError,
    Report,
    Target,
    replay_range,
    report_from,
)
from shared.runtime.clock import Clock
from shared.runtime.logs import correlated
from shared.store.lane_admin import UnknownSubscriptionError
from shared.store.pool import POSTGRES_ERRORS

_log = logging.getLogger(__name__)

_LINE_SECONDS = 0.25
_EMPTY_LINE_SECONDS = 10.0  # so that who has gone is noticed
_TYPES_MAX = 50

Text = Annotated[str, Meta(max_length=300)]


class OpenTarget(Protocol):
    """What posts to endpoints is the deliverer's: the composition root brings it."""

    def __call__(
        self, subscription_id: str, *, is_dry: bool, may_leave: bool
    ) -> AbstractAsyncContextManager[Target]:
        """Raises ReplayRefusedError, UnknownSubscriptionError."""
        ...


class Replay(msgspec.Struct, frozen=True, rename="camel"):
    """What to send again, to which subscription; `really`: also to an endpoint of somebody else.

    `speed` is full, original, or a number: 10 is ten times as fast as it happened.
    """

    subscription: Text
    account: Text | None = None
    types: Annotated[list[Text], Meta(max_length=_TYPES_MAX)] | None = None
    since: Text | None = None
    until: Text | None = None
    after: Text | None = None
    before: Text | None = None
    speed: Text = "full"
    dry_run: bool = False
    really: bool = False


class ReplayLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The last one has `done` or `error`; everything up to `cursor` was dealt with."""

    sent: int
    cursor: str
    left_out: dict[str, int] = {}
    done: bool = False
    error: str | None = None


class ReplayRoutes:
    def __init__(
        self,
        pool: asyncpg.Pool,
        bus: Bus,
        entrance: Entrance,
        clock: Clock,
        open_target: OpenTarget,
        *,
        replays_max: int,
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._history = EventHistory(bus)
        self._entrance = entrance
        self._clock = clock
        self._open_target = open_target
        self._replays_max = replays_max
        self._replaying = set[str]()  # ids of users
        self._draining = asyncio.Event()

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="POST",
                path="/replays",
                name="replay",
                meaning="Send a part of the log again: a line of JSON now and then, the last one "
                "with `done` or `error`. One at a time for each operator; it ends with the asker.",
                answer=self._replay,
                body=Replay,
                result=ReplayLine,
                result_type="application/x-ndjson",
                action="replay",
                goes_on=True,
            ),
        )

    def close(self) -> None:
        """The process ends: so do the replays."""
        self._draining.set()

    async def _replay(self, request: Request, operator: Operator) -> Response:
        asked = await read_json(request, Replay)
        request.state.target = asked.subscription
        pace = _pace(asked)
        if operator.credential.user_id in self._replaying:
            raise Refusal(409, "A replay of yours goes on: wait for its end, or end it.")
        if self._is_full:
            raise Refusal(503, "Too many replays at once.", {"Retry-After": RETRY_SECONDS})
        span = await self._history.span()
        wanted = await event_range(self._pool, _options(asked), span.end, self._clock.now())
        report = report_from(span.end.epoch, wanted)
        begun = _Begun(operator, request.state.request_id, asked)
        lines = self._lines(begun, wanted, pace, report)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return TakenStream(lines, headers=headers, media_type="application/x-ndjson")

    @property
    def _is_full(self) -> bool:
        return len(self._replaying) >= self._replays_max

    def _why_not(self, operator: Operator) -> str | None:
        """Others may have begun since it was asked for."""
        if operator.credential.user_id in self._replaying:
            return "another replay of yours goes on"
        return "too many replays at once" if self._is_full else None

    async def _lines(
        self, begun: "_Begun", wanted: EventRange, pace: Pace, report: Report
    ) -> AsyncGenerator[bytes]:
        """Also the audit: what was begun, and how it ended."""
        operator = begun.operator
        if (busy := self._why_not(operator)) is not None:
            begun.audit(f"refused: {busy}")
            yield _line(report, error=busy)
            return
        begun.audit(f"begun behind {report.cursor}")
        self._replaying.add(operator.credential.user_id)
        error: str | None = "whoever asked has gone"
        try:
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(self._run(begun, wanted, pace, report), name="replay")
                yield _line(report)
                async for line in self._progress(running, operator, report):
                    yield line
                error = running.result() if running.done() else "ended before its end"
                running.cancel()
            yield _line(report, error=error, done=error is None)
        finally:
            self._replaying.discard(operator.credential.user_id)
            begun.audit(f"sent {report.sent}, up to {report.cursor}: {error or 'done'}")

    async def _progress(
        self, running: asyncio.Task[str | None], operator: Operator, report: Report
    ) -> AsyncIterator[bytes]:
        """Until it has ended, or must."""
        watch = CredentialWatch(self._entrance, operator, self._clock)
        told, told_at = report.cursor, self._clock.monotonic()
        while not running.done() and not self._draining.is_set() and await watch.is_good():
            await asyncio.wait({running}, timeout=_LINE_SECONDS)
            now = self._clock.monotonic()
            if told != report.cursor or now > told_at + _EMPTY_LINE_SECONDS:
                told, told_at = report.cursor, now
                yield _line(report)

    async def _run(
        self, begun: "_Begun", wanted: EventRange, pace: Pace, report: Report
    ) -> str | None:
        """Why it ended before its end."""
        asked = begun.asked
        try:
            async with (
                self._open_target(
                    asked.subscription, is_dry=asked.dry_run, may_leave=asked.really
                ) as target,
                open_history(
                    self._bus,
                    wanted.place,
                    is_endless=False,
                    wants=wanted.filter.body_test(),
                ) as history,
            ):
                await replay_range(history, wanted, pace, target, report, self._clock)
        except (ReplayStoppedError, ReplayRefusedError, UnknownSubscriptionError) as error:
            return str(error)
        except (BusUnavailableError, JetStreamError, *POSTGRES_ERRORS) as error:
            return f"NATS or the database does not answer: {type(error).__name__}"
        except Exception:  # noqa: BLE001 - whoever asked is told that it ended, and the audit why
            with correlated(request_id=begun.request_id):
                _log.exception("replay_failed", extra={"subscription": asked.subscription})
            return "an error of the server, which its log has"
        return None


class _Begun(msgspec.Struct, frozen=True):
    """By whom, with which request, and what was asked for."""

    operator: Operator
    request_id: str
    asked: Replay

    def audit(self, outcome: str) -> None:
        """Under the request's id, which is over for the rest of the log."""
        action = "replay, dry" if self.asked.dry_run else "replay"
        with correlated(request_id=self.request_id):
            audit(self.operator, action, self.asked.subscription, outcome)


def _options(asked: Replay) -> RangeOptions:
    for name in ("subscription", "account", "since", "until", "after", "before", "speed"):
        plain(name, getattr(asked, name) or "")
    for name in asked.types or ():
        plain("types", name)
    return RangeOptions(
        account=asked.account or None,
        types=asked.types or None,
        since=asked.since or None,
        until=asked.until or None,
        after=asked.after or None,
        before=asked.before or None,
    )


def _pace(asked: Replay) -> Pace:
    try:
        speed = speed_of(asked.speed)
    except ValueError as error:
        raise Refusal(400, f"speed is {error}.") from error
    return Pace(None if asked.dry_run else speed)


def _line(report: Report, *, done: bool = False, error: str | None = None) -> bytes:
    line = ReplayLine(
        sent=report.sent,
        cursor=report.cursor,
        left_out=dict(report.left_out),
        done=done,
        error=error,
    )
    return msgspec.json.encode(line) + b"\n"
