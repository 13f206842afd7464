"""Tells one endpoint what is new: reads the log, finds the difference, sends it, part by part."""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from services.webhooks.answers import Answer, Outcome
from services.webhooks.breaker import Breaker
from services.webhooks.position import Position, completed_by
from services.webhooks.recent_events import RecentEvents
from services.webhooks.sender import OpenedRecipient, Outgoing, Sender
from services.webhooks.settings import WebhookSettings
from services.webhooks.spans import attempt_span, joined_cause, trace_id_of
from shared.jmap.state_change import Changed, encode_state_change, parts_of
from shared.log.batched_reader import ReaderOfLog
from shared.log.event import Cause
from shared.log.reader import Snapshot
from shared.runtime.clock import Clock
from shared.runtime.traces import Traces
from shared.store.lanes import Attempt, ClaimedLane
from shared.store.waits import WaitsFor

_READ_SECONDS_MAX = 5.0
_ENDED_SECONDS = 60.0  # until an ended subscription is looked at again, should nobody remove it
_UNREACHED = frozenset(
    {
        Outcome.DNS_FAILED,
        Outcome.CONNECT_FAILED,
        Outcome.TLS_FAILED,
        Outcome.TIMED_OUT,
        Outcome.BROKEN,
        Outcome.SERVER_ERROR,
        Outcome.UNAVAILABLE,
    }
)
"""What speaks against the whole origin, and not this endpoint alone."""
_NOT_SENT = frozenset({Outcome.ADDRESS_BLOCKED, Outcome.EGRESS_FAILED})
"""What says nothing of the origin."""


class Telling(msgspec.Struct, frozen=True):
    """How a look went; `failure` is the answer that ended it early, and was charged or not."""

    position: Position
    attempts: Sequence[Attempt]
    failure: Answer | None = None
    wait_seconds: float | None = None  # put off, without a verdict on the endpoint
    waits_for: WaitsFor | None = None  # why it was put off
    trace_id: str | None = None  # of the newest change that was to be told


class Teller:
    """Never tells an endpoint an older state after a newer one, whichever worker told that."""

    def __init__(  # noqa: PLR0913 - a composition root puts it together
        self,
        reader: ReaderOfLog,
        recent: RecentEvents,
        sender: Sender,
        breaker: Breaker,
        settings: WebhookSettings,
        *,
        clock: Clock,
        traces: Traces,
    ) -> None:
        self._reader = reader
        self._recent = recent
        self._sender = sender
        self._breaker = breaker
        self._settings = settings
        self._clock = clock
        self._traces = traces

    async def tell(self, lane: ClaimedLane, leased_until: float) -> Telling:
        """Find the newest difference, and send it, until the lease ends (monotonic seconds)."""
        position = Position(lane.cursor, lane.told)
        if not lane.is_live:
            return put_off(lane, _ENDED_SECONDS, WaitsFor.ENDED)
        snapshot = await self._read(lane, max(lane.target, position.fence))
        sequences = {name: stored.sequence for name, stored in snapshot.events.items()}
        changed = position.difference(snapshot.events, lane.types)
        if not changed:
            return Telling(position.after_all(sequences, snapshot.up_to), ())
        now, is_healthy = self._clock.monotonic(), not lane.failures
        leave = self._breaker.ask(lane.origin, now, is_healthy=is_healthy)
        if leave.seconds_to_wait:
            return put_off(lane, leave.seconds_to_wait, WaitsFor.BREAKER)
        try:
            return await self._tell_changed(lane, leased_until, snapshot, changed)
        finally:
            self._breaker.give_back(lane.origin, leave)

    async def _tell_changed(
        self, lane: ClaimedLane, leased_until: float, snapshot: Snapshot, changed: Changed
    ) -> Telling:
        position = Position(lane.cursor, lane.told)
        opened = self._sender.open(lane.recipient)
        may_replace = self._settings.topics and opened.is_encrypted
        if may_replace:
            changed = position.superset(snapshot.events, lane.types)
        round_ = _Round(
            lane=lane,
            opened=opened,
            position=position,
            sequences={name: stored.sequence for name, stored in snapshot.events.items()},
            up_to=snapshot.up_to,
            leased_until=leased_until,
            may_replace=may_replace,
            cause=joined_cause(snapshot.events, changed),
        )
        telling = await self._send(round_, changed)
        return msgspec.structs.replace(telling, trace_id=trace_id_of(round_.cause))

    async def _read(self, lane: ClaimedLane, fence: int) -> Snapshot:
        recent = self._recent.whole(lane.accounts, fence)
        if recent is not None:
            return Snapshot({lane.accounts[0]: recent}, fence)
        async with asyncio.timeout(_READ_SECONDS_MAX):
            return await self._reader.read(lane.accounts, after=lane.cursor, fence=fence)

    async def _send(self, round_: "_Round", changed: Changed) -> Telling:
        """All parts, one after the other, for as long as they are taken and the lease holds."""
        lane, opened, position = round_.lane, round_.opened, round_.position
        parts = parts_of(changed, self._octets_max(opened))
        is_whole = len(parts) == 1
        attempts: list[Attempt] = []
        while parts:
            await self._sender.load_key(lane.recipient)  # it may take time, so before the lease
            if not self._is_leased(round_):
                return Telling(position, attempts, wait_seconds=0.0, waits_for=WaitsFor.LEASE)
            at, began_at = self._clock.now(), self._clock.monotonic()
            trace = self._traces.below(round_.cause.traceparent)
            answer = await self._sender.send(
                opened,
                Outgoing(
                    payload=encode_state_change(parts[0]),
                    kind="push",
                    may_repeat=True,
                    # A part must not replace another one.
                    replaces=sorted(parts[0]) if round_.may_replace and is_whole else None,
                    traceparent=trace.traceparent if trace is not None else None,
                ),
            )
            number = lane.attempts + len(attempts)
            attempts.append(opened.attempt(number, "push", answer, at=at, cursor=round_.newest))
            self._note_origin(lane.origin, answer, began_at)
            if trace is not None and self._traces.wants(trace):
                self._traces.tell(attempt_span(trace, round_.cause, answer, lane.id))
            if answer.outcome is Outcome.ACCEPTED:
                position = position.after_telling(completed_by(parts)[0], round_.sequences)
                parts = parts[1:]
            elif answer.outcome is Outcome.TOO_LARGE and _states(parts[0]) > 1:
                parts, is_whole = [*_halves(parts[0]), *parts[1:]], False
            else:
                return Telling(position, attempts, answer)
        return Telling(position.after_all(round_.sequences, round_.up_to), attempts)

    def _octets_max(self, opened: OpenedRecipient) -> int:
        most = self._settings.message_octets_max
        return most if opened.octets_max is None else min(most, opened.octets_max)

    def _is_leased(self, round_: "_Round") -> bool:
        """A request begun now ends before somebody else may begin one."""
        ends = self._clock.monotonic() + self._settings.answer_seconds_max
        return ends < round_.leased_until

    def _note_origin(self, origin: str, answer: Answer, began_at: float) -> None:
        now = self._clock.monotonic()
        if answer.outcome in _UNREACHED:
            self._breaker.failed(origin, now, began_at=began_at)
        elif answer.outcome not in _NOT_SENT:
            self._breaker.reached(origin, now)


class _Round(msgspec.Struct, frozen=True, kw_only=True):
    lane: ClaimedLane
    opened: OpenedRecipient
    position: Position
    sequences: Mapping[str, int]
    up_to: int  # the read is complete up to there; some of its events may be newer
    leased_until: float  # monotonic seconds
    may_replace: bool
    cause: Cause  # of the newest change

    @property
    def newest(self) -> int:
        """The endpoint may know all up to there, whether it says so or not."""
        return max(self.up_to, *self.sequences.values())


def put_off(lane: ClaimedLane, seconds: float, waits_for: WaitsFor) -> Telling:
    position = Position(lane.cursor, lane.told)
    return Telling(position, (), wait_seconds=seconds, waits_for=waits_for)


def _states(part: Changed) -> int:
    return sum(len(states) for states in part.values())


def _halves(part: Changed) -> list[Changed]:
    states = [(name, type_, part[name][type_]) for name in part for type_ in part[name]]
    middle = len(states) // 2
    return [_joined(states[:middle]), _joined(states[middle:])]


def _joined(states: Sequence[tuple[str, str, str]]) -> Changed:
    part: dict[str, dict[str, str]] = {}
    for name, type_, state in states:
        part.setdefault(name, {})[type_] = state
    return part
