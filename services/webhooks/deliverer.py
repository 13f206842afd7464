"""A worker: claims due lanes, tells each endpoint the newest difference, settles (docs/adr/0009).

A process may die at any await here. What it had claimed falls due when the lease ends, and its
endpoint is told anew what it may have been told: never something older.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg
import msgspec

from services.webhooks.answers import Answer, Outcome
from services.webhooks.attempt_lines import log_attempts
from services.webhooks.health import Health, Verdict, after_failure, after_success
from services.webhooks.settings import WebhookSettings
from services.webhooks.settling import LookEnd, Settling
from services.webhooks.slots import Group, Slots
from services.webhooks.teller import Teller, Telling, put_off
from shared.bus.connection import BusUnavailableError
from shared.bus.direct_get import DirectGetError
from shared.log.appender import LogUnavailableError
from shared.runtime.clock import Clock
from shared.runtime.metrics import Metric, Metrics
from shared.store.lanes import Claim, ClaimedLane, Settlement, claim_lanes
from shared.store.pool import POSTGRES_ERRORS
from shared.store.waits import WaitsFor
from shared.web_push.sealing import UnsealError

_log = logging.getLogger(__name__)

_CLAIM_LANES_MAX = 100  # at once
_CLAIM_LANES_MIN = 40  # while others are at work: a claim costs the same for one as for many
_UNSETTLED_MAX = 1_000  # looks that have ended and are not written yet; then nothing is claimed
_POLL_SECONDS = 0.5  # for lanes whose time comes, and what nobody told us of
_SLOW_SECONDS = 1.0  # then a request gives its slot to somebody else
_AHEAD_SECONDS = 1.0  # then a lane that was claimed ahead is left to any worker
_RETRY_SECONDS = 2.0  # after a fault of our own
_LOG_AWAY = (BusUnavailableError, DirectGetError, LogUnavailableError, TimeoutError)
_UNSEALABLE_SECONDS = 900.0


class _Ahead(msgspec.Struct, frozen=True):
    """A claimed lane that waits for a slot; `claimed_at` in monotonic seconds."""

    lane: ClaimedLane
    claimed_at: float


class Deliverer:
    """`run` it in the process's task group; `wake` it when lanes may have become due."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        teller: Teller,
        settings: WebhookSettings,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._pool = pool
        self._teller = teller
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._random = secrets.SystemRandom().random
        self._slots = Slots(settings.slots)
        self._settling = Settling(pool, self.wake)
        self._wanted = asyncio.Event()
        self._name = secrets.token_hex(8)
        self._claims = 0
        self._looks: asyncio.TaskGroup  # of `run`
        self._ahead: deque[_Ahead] = deque()  # bounded by the slots
        self._has_more_troubled = False
        for group, most in self._slots.sizes_max().items():
            metrics.set(Metric.WEBHOOKS_IN_FLIGHT_MAX, most, group=group)

    def wake(self) -> None:
        self._wanted.set()

    async def run(self, draining: asyncio.Event) -> None:
        """Until `draining`, and what was begun has ended."""
        async with asyncio.TaskGroup() as tasks:
            self._looks = tasks
            settling = tasks.create_task(self._settling.run(), name="settling")
            stopping = tasks.create_task(self._wake_when(draining), name="stopping")
            polled_at = float("-inf")
            while not draining.is_set():
                self._wanted.clear()
                groups = [Group.HEALTHY]
                is_poll = self._clock.monotonic() - polled_at >= _POLL_SECONDS
                if is_poll:
                    polled_at = self._clock.monotonic()
                if is_poll or self._has_more_troubled:
                    groups.append(Group.TROUBLED)
                for group in groups:
                    # From before the claim: whoever takes over counts from a later time.
                    claimed_at = self._clock.monotonic()
                    for lane in await self._claim(group, is_poll=is_poll):
                        self._take(lane, group, claimed_at)
                self._leave_ahead(before=self._clock.monotonic() - _AHEAD_SECONDS)
                self._report()
                try:
                    async with asyncio.timeout(_POLL_SECONDS):
                        await self._wanted.wait()
                except TimeoutError:
                    pass
            stopping.cancel()
            self._leave_ahead(before=float("inf"))
            while len(self._slots):
                self._wanted.clear()
                await self._wanted.wait()
            await self._settling.all_done()
            settling.cancel()

    async def _wake_when(self, event: asyncio.Event) -> None:
        await event.wait()
        self._wanted.set()

    async def _claim(self, group: Group, *, is_poll: bool) -> Sequence[ClaimedLane]:
        """Now and then for few lanes, too: those at work may hold their slots for long."""
        room = min(self._slots.room(group), _CLAIM_LANES_MAX, _UNSETTLED_MAX - len(self._settling))
        at_work = self._slots.sizes()[group]
        least = 1 if is_poll else min(_CLAIM_LANES_MIN, at_work + 1)  # more are about to be free
        if room < least:
            return []
        self._claims += 1
        self._slots.claim_begins(group)
        claim = Claim(
            lease=f"{self._name}.{self._claims}",
            lease_for=timedelta(seconds=self._settings.lease_seconds),
            lanes_max=room,
            is_troubled=group is Group.TROUBLED,
            origin_max=self._settings.origin_at_once_max,
            origin_room=self._slots.busy_origins(group),
        )
        try:
            claimed = await claim_lanes(self._pool, claim)
        except POSTGRES_ERRORS as error:
            _log.warning("webhook_claim_failed", extra={"error": repr(error)})
            return []
        if group is Group.TROUBLED:
            self._has_more_troubled = not claimed.is_all
        if not claimed.is_all:
            self._wanted.set()
        return claimed.lanes

    def _take(self, lane: ClaimedLane, group: Group, claimed_at: float) -> None:
        if group is Group.HEALTHY and self._slots.free(group) <= 0:
            self._slots.take(_look_of(lane), lane.origin, Group.AHEAD)
            self._ahead.append(_Ahead(lane, claimed_at))
        else:
            self._slots.take(_look_of(lane), lane.origin, group)
            self._begin(lane, claimed_at)

    def _begin(self, lane: ClaimedLane, claimed_at: float) -> None:
        leased_until = claimed_at + self._settings.lease_seconds
        self._looks.create_task(self._look(lane, leased_until))

    def _begin_ahead(self) -> None:
        while self._ahead and self._slots.free(Group.HEALTHY) > 0:
            waiting = self._ahead.popleft()
            self._slots.begin(_look_of(waiting.lane))
            self._begin(waiting.lane, waiting.claimed_at)

    def _leave_ahead(self, *, before: float) -> None:
        """Those claimed before then, to whoever has a slot: what may be told is judged anew."""
        while self._ahead and self._ahead[0].claimed_at < before:
            lane = self._ahead.popleft().lane
            self._slots.give_back(_look_of(lane))
            left = put_off(lane, 0.0, WaitsFor.SLOT)
            self._settling.add(self._end(lane, left, self._clock.now()))

    def _report(self) -> None:
        for group, size in self._slots.sizes().items():
            self._metrics.set(Metric.WEBHOOKS_IN_FLIGHT, size, group=group)

    async def _look(self, lane: ClaimedLane, leased_until: float) -> None:
        began_at = self._clock.now()
        slow = asyncio.get_running_loop().call_later(_SLOW_SECONDS, self._turn_slow, _look_of(lane))
        try:
            telling = await self._teller.tell(lane, leased_until)
        except UnsealError:
            _log.error(
                "webhook_secret_unreadable",
                extra={"subscription": lane.id, "hint": "TIDINGS_SECRET_KEY was changed"},
            )
            telling = put_off(lane, _UNSEALABLE_SECONDS, WaitsFor.SECRET_UNREADABLE)
        except (*_LOG_AWAY, *POSTGRES_ERRORS) as error:
            _log.warning("webhook_look_failed", extra={"error": repr(error)})
            wait = _RETRY_SECONDS * (1 + self._random())
            telling = put_off(lane, wait, WaitsFor.LOG_AWAY)
        except Exception:  # noqa: BLE001 - a bug must not hold the lane, nor end the worker
            _log.exception("webhook_look_crashed", extra={"subscription": lane.id})
            telling = put_off(lane, _UNSEALABLE_SECONDS, WaitsFor.CRASHED)
        finally:
            slow.cancel()
            self._slots.give_back(_look_of(lane))
            self._begin_ahead()
            self._wanted.set()
        self._settling.add(self._end(lane, telling, began_at))

    def _turn_slow(self, look: str) -> None:
        self._slots.turn_slow(look)
        self._begin_ahead()
        self._wanted.set()

    def _end(self, lane: ClaimedLane, telling: Telling, began_at: datetime) -> LookEnd:
        failure, now = telling.failure, self._clock.now()
        if failure is not None and failure.outcome is Outcome.GONE:
            log_attempts(telling.attempts, trace_id=telling.trace_id, failures=0, retry_at=None)
            _log.info("webhook_gone", extra={"subscription": lane.id, "status": failure.status})
            return LookEnd(lane.id, None, ())
        health = Health(
            failures=lane.failures, failing_since=lane.failing_since, window_ms=lane.window_ms
        )
        if telling.wait_seconds is not None:
            verdict = Verdict(health, telling.wait_seconds, telling.waits_for)
        elif failure is not None:
            verdict = after_failure(health, failure, now, self._random)
            if failure.retry_after_seconds:
                self._metrics.count(Metric.WEBHOOK_RETRY_AFTERS)
            self._tell_operator(lane, failure)
        elif telling.attempts:
            verdict = after_success(health)
            self._observe_lag(lane, now)
        else:
            verdict = Verdict(health, None)
        log_attempts(
            telling.attempts,
            trace_id=telling.trace_id,
            failures=verdict.health.failures,
            retry_at=None
            if failure is None
            else now + timedelta(seconds=verdict.wait_seconds or 0),
        )
        settlement = Settlement(
            lane_id=lane.id,
            lease=lane.lease,
            cursor=telling.position.cursor,
            told=telling.position.told,
            must_retry=failure is not None or telling.wait_seconds is not None,
            wait_seconds=verdict.wait_seconds,
            waits_for=verdict.waits_for,
            window_ms=verdict.health.window_ms,
            failures=verdict.health.failures,
            failing_since=verdict.health.failing_since,
            began_at=began_at,
            attempts=lane.attempts + len(telling.attempts),
            sent_up_to=max((attempt.cursor for attempt in telling.attempts), default=0),
        )
        return LookEnd(lane.id, settlement, telling.attempts)

    def _observe_lag(self, lane: ClaimedLane, now: datetime) -> None:
        if lane.behind_since is not None:
            lag = (now - lane.behind_since).total_seconds()
            self._metrics.observe(Metric.WEBHOOK_LAG_SECONDS, max(0.0, lag))

    def _tell_operator(self, lane: ClaimedLane, failure: Answer) -> None:
        if failure.outcome is Outcome.UNAUTHORIZED:  # our signature was not taken
            _log.error(
                "webhook_unauthorized",
                extra={"subscription": lane.id, "status": failure.status},
            )


def _look_of(lane: ClaimedLane) -> str:
    """After a standstill of this process a lane may be claimed anew before its old look ended."""
    return f"{lane.lease}/{lane.id}"
