"""Records as operators are told of them; no I/O."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from services.gateway.connection_id import connection_id
from services.gateway.event_source_query import TYPES_MAX
from services.gateway.frames import state_change_in
from services.gateway.record import Entry, Frame, Note, Recorded, unpacked
from shared.operate.connections import (
    ACCOUNTS_SHOWN_MAX,
    PENDING_SHOWN_MAX,
    TYPES_SHOWN_MAX,
    ConnectionDetails,
    ConnectionFacts,
    ConnectionFilter,
    Moment,
)
from shared.runtime.clock import utc_text


class Wall(msgspec.Struct, frozen=True):
    """One moment by both clocks, so that monotonic seconds can be told as times of the day."""

    now: float  # monotonic
    at: datetime  # aware

    def text(self, seconds: float) -> str:
        return utc_text(self.at + timedelta(seconds=seconds - self.now))

    def text_or_none(self, seconds: float | None) -> str | None:
        return None if seconds is None else self.text(seconds)


def matches(record: Recorded, wanted: ConnectionFilter, gateway_id: str) -> bool:
    return (
        (wanted.user is None or wanted.user in (record.holder.user_id, record.holder.user_name))
        and (wanted.account is None or wanted.account in record.account_ids)
        and (wanted.address is None or wanted.address == record.address)
        and (wanted.credential is None or wanted.credential == record.holder.id)
        and (wanted.transport is None or wanted.transport == record.kind)
        and (not wanted.is_stalled or _stalled_since(record) is not None)
        and (
            wanted.connection is None
            or wanted.connection == connection_id(gateway_id, record.number)
        )
    )


def facts_of(
    record: Recorded,
    gateway_id: str,
    wall: Wall,
    *,
    unsent_octets: int = 0,
    types_max: int = TYPES_SHOWN_MAX,
) -> ConnectionFacts:
    push, types = record.push, record.push.options.types
    newest = _newest_frame(record)
    stalled_since = _stalled_since(record)
    return ConnectionFacts(
        id=connection_id(gateway_id, record.number),
        gateway=gateway_id,
        transport=record.kind,
        user=record.holder.user_id,
        user_name=record.holder.user_name,
        credential=record.holder.id,
        address=record.address,
        opened_at=wall.text(push.opened_at),
        ended_at=wall.text_or_none(record.ended_at),
        end_reason=push.end_reason,
        types=None if types is None else tuple(sorted(types)[:types_max]),
        type_count=0 if types is None else len(types),
        is_listening=record.is_listening,
        account_count=len(record.account_ids),
        messages=record.messages,
        merged=push.merges,
        filtered=push.filtered,
        cursor=push.cursor,
        told_cursor=None if newest is None else state_change_in(newest.data)[1],
        told_at=None if newest is None else wall.text(newest.at),
        pending=sum(map(len, push.pending.values())),
        stalled_seconds=None if stalled_since is None else round(wall.now - stalled_since, 3),
        unsent_octets=unsent_octets,
    )


def details_of(
    record: Recorded, gateway_id: str, wall: Wall, *, unsent_octets: int = 0
) -> ConnectionDetails:
    facts = facts_of(record, gateway_id, wall, unsent_octets=unsent_octets, types_max=TYPES_MAX)
    push, joining = record.push, record.joining
    return ConnectionDetails(
        **{name: getattr(facts, name) for name in facts.__struct_fields__},
        accounts=tuple(islice(sorted(record.account_ids), ACCOUNTS_SHOWN_MAX)),
        ping_seconds=push.options.ping_seconds,
        closes_after_state=push.options.closes_after_state,
        asked_cursor=None if joining is None else joining.cursor,
        joined_at=None if joining is None else wall.text(joining.at),
        outcome=None if joining is None else joining.outcome,
        missed=0 if joining is None else joining.missed,
        filtered_cursor=push.filtered_cursor,
        pending_states=_first(push.pending),
        pending_because=_pending_because(record),
        pings=record.pings,
        pinged_at=_pinged_at(record, wall),
        ping_milliseconds=(
            None if record.pong_seconds is None else round(record.pong_seconds * 1000, 3)
        ),
        ended_by=record.ended_by,
        moments=tuple(moment_of(entry, wall) for entry in _entries(record)),
    )


def moment_of(entry: Entry, wall: Wall) -> Moment:
    if isinstance(entry, Note):
        return Moment(
            at=wall.text(entry.at),
            kind=entry.kind,
            cursor=entry.cursor,
            octets=entry.octets,
            states=entry.states,
            count=entry.count,
            detail=entry.detail,
        )
    frame = unpacked(entry)
    changed, cursor = state_change_in(frame.data)
    return Moment(
        at=wall.text(frame.at),
        kind="state",
        cursor=cursor,
        changed={account_id: dict(states) for account_id, states in changed.items()},
        is_cut=len(frame.data) < frame.octets,
        octets=frame.octets,
        merged=frame.merged,
    )


def _entries(record: Recorded) -> tuple[Entry, ...]:
    return () if record.ring is None else record.ring.entries()


def _newest_frame(record: Recorded) -> Frame | None:
    frames = (one for one in reversed(_entries(record)) if isinstance(one, bytes))
    newest = next(frames, None)
    return None if newest is None else unpacked(newest)


def _pinged_at(record: Recorded, wall: Wall) -> str | None:
    """Unknown where a StateChange came later."""
    newest = _newest_frame(record)
    at = record.push.last_event_at
    return wall.text(at) if record.pings and (newest is None or newest.at < at) else None


def _stalled_since(record: Recorded) -> float | None:
    """A connection is paused, too, until it is open."""
    if record.joining is None or record.ended_at is not None:
        return None
    return record.push.paused_at


def _pending_because(record: Recorded) -> str | None:
    push = record.push
    if not push.pending:
        return None
    if push.is_over:
        return "ended"
    return "stalled" if push.is_paused else "merging"


def _first(pending: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    states = (
        (account_id, name, state)
        for account_id, changed in pending.items()
        for name, state in changed.items()
    )
    first: dict[str, dict[str, str]] = {}
    for account_id, name, state in islice(states, PENDING_SHOWN_MAX):
        first.setdefault(account_id, {})[name] = state
    return first
