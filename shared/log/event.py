"""The event of the log: one committed mutation of one account, and the account's other states.

Because each event carries every state of its account, the last event of an account is its
snapshot: what changed since a cursor is answered by that one event (docs/adr/0001).
"""

import math
from collections.abc import Mapping
from typing import TypeAlias

import msgspec
from msgspec import field

from shared.runtime.trace_context import parse_traceparent

CAUSE_LINKS_MAX = 8


class OrderedState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A state token and the place of its change in the account's history.

    `order` is comparable within one (account, type) only: the greater one is the newer.
    """

    state: str
    order: int


class GivenState(msgspec.Struct, frozen=True):
    """A state of another service's type, as it was given; `order` is that service's own counter."""

    state: str
    order: int | None = None


class CarriedState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A state that the event did not change, and the sequence of the event that did."""

    state: str
    order: int
    sequence: int


States: TypeAlias = Mapping[str, OrderedState]
"""Type name -> state; what a mutation moved, or all that an account has."""


class Cause(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What made the change, for the people who look for it later; nothing decides on it.

    `links` are the traceparents of other mutations that one event tells: those that are sampled.
    """

    method: str | None = None
    request_id: str | None = None
    principal: str | None = None
    traceparent: str | None = None
    links: tuple[str, ...] = ()

    def after(self, earlier: "Cause") -> "Cause":
        """Of an event that tells what `earlier` caused, too."""
        before = parse_traceparent(earlier.traceparent)
        if not earlier.links and (before is None or not before.is_sampled):
            return self
        own = (before.traceparent,) if before is not None and before.is_sampled else ()
        links = dict.fromkeys((*earlier.links, *own, *self.links))
        return msgspec.structs.replace(self, links=tuple(links)[-CAUSE_LINKS_MAX:])


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event's body; its sequence is its place in the stream and not in the body.

    `changed` took effect with this event. `at` is the commit's time, RFC 3339 in UTC with
    milliseconds. After a removal, which has no states, nothing of the account comes any more.
    """

    changed: dict[str, OrderedState]
    unchanged: dict[str, CarriedState]
    at: str
    cause: Cause = Cause()
    is_removal: bool = field(default=False, name="removed")


class StoredEvent(msgspec.Struct, frozen=True):
    """An event and its sequence in the stream."""

    sequence: int
    event: Event


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    return _encoder.encode(event)


def decode_event(body: bytes) -> Event:
    """Raises one of MSGSPEC_ERRORS for what is no event."""
    return _decoder.decode(body)


def newest(first: States, second: States) -> dict[str, OrderedState]:
    """Per type the state of the greater order; on equal orders that of `first`."""
    merged = dict(first)
    for type_name, state in second.items():
        known = merged.get(type_name)
        if known is None or state.order > known.order:
            merged[type_name] = state
    return merged


def next_event(
    previous: StoredEvent | None, states: States, *, at: str, cause: Cause
) -> Event | None:
    """The event to append after `previous`, or None when nothing in `states` is newer.

    A type whose order is not greater than the known one is left out, so appending anything
    twice, late or out of order never takes an account back, nor brings a removed one back.
    """
    if previous is not None and previous.event.is_removal:
        return None
    known = {} if previous is None else _carried(previous)
    changed = {
        type_name: state
        for type_name, state in states.items()
        if type_name not in known or state.order > known[type_name].order
    }
    if not changed:
        return None
    unchanged = {name: carried for name, carried in known.items() if name not in changed}
    return Event(changed=changed, unchanged=unchanged, at=at, cause=cause)


def removal_event(previous: StoredEvent | None, *, at: str, cause: Cause) -> Event | None:
    """The tombstone of the account (docs/adr/0022); None where it is there already."""
    if previous is not None and previous.event.is_removal:
        return None
    return Event(changed={}, unchanged={}, at=at, cause=cause, is_removal=True)


def changed_since(stored: StoredEvent, since: int, up_to: float = math.inf) -> dict[str, str]:
    """Type -> state of what took effect after the sequence `since`, and no later than `up_to`.

    A `since` of 0 gives the whole account.
    """
    return {
        type_name: carried.state
        for type_name, carried in _carried(stored).items()
        if since < carried.sequence <= up_to
    }


def all_states(event: Event) -> dict[str, OrderedState]:
    """Every state of the account as it is after the event."""
    before = {name: OrderedState(one.state, one.order) for name, one in event.unchanged.items()}
    return before | event.changed


def _carried(stored: StoredEvent) -> dict[str, CarriedState]:
    """Every state of the account, with the sequence that it has from now on."""
    fresh = {
        type_name: CarriedState(state.state, state.order, stored.sequence)
        for type_name, state in stored.event.changed.items()
    }
    return {**stored.event.unchanged, **fresh}
