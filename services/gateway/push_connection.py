"""What one client is told, and when (RFC 8620 section 7.3, RFC 8887 section 4.3.5); no I/O.

Feed it with `receive`. True: send this change now, as it is. Otherwise what the client wants of it
is merged into one pending message, which `take` gives out when `flush_at` has come. It holds one
state per (account, type), so a slow peer costs O(accounts x types) and never O(changes missed).
`wake` tells what else is due once `wake_at` has passed.
"""

import math
from collections.abc import Collection, Mapping
from enum import Enum, StrEnum
from typing import TypeAlias

import msgspec

Types: TypeAlias = frozenset[str] | None
"""The types a client asked for; None is all."""


class Change:
    """One event of the log, shared by all connections that get it; cuts it to types once."""

    __slots__ = ("_cuts", "account_id", "changed", "cursor", "frames")

    def __init__(self, account_id: str, changed: Mapping[str, str], cursor: str) -> None:
        self.account_id = account_id
        self.changed = changed  # type -> state token
        self.cursor = cursor  # everything up to here is known
        self.frames: dict[
            object, tuple[bytes, bytes]
        ] = {}  # what adapters encoded, and what they keep
        self._cuts: dict[frozenset[str], Mapping[str, str]] = {}

    def wanted(self, types: frozenset[str]) -> Mapping[str, str]:
        cut = self._cuts.get(types)
        if cut is None:
            cut = {name: state for name, state in self.changed.items() if name in types}
            self._cuts[types] = cut
        return cut


class PushOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked for, and the limits that all share."""

    types: Types = None
    ping_seconds: int = 0  # 0: no pings
    closes_after_state: bool = False
    flush_seconds: float = 0.02  # least time from one StateChange to the next
    stall_seconds: float = 30.0  # a peer that takes nothing for so long is given up


class PushMessage(msgspec.Struct, frozen=True):
    """A StateChange to send, and the cursor that the client has reached with it."""

    changed: Mapping[str, Mapping[str, str]]  # account -> type -> state token
    cursor: str


class EndReason(StrEnum):
    """Why a connection ended."""

    STATE_SENT = "state_sent"  # closeafter=state
    LIFETIME = "lifetime"  # of a connection, or of its credential
    STALLED = "stalled"  # the peer took nothing for too long
    CLIENT = "client"  # the peer went
    PROTOCOL = "protocol"  # the peer broke the rules
    REVOKED = "revoked"  # the credential, or the user's last account
    LOST = "lost"  # the log cannot be read: the client must come again
    DRAINING = "draining"  # the process ends
    OPERATOR = "operator"  # an operator closed it


class Due(Enum):
    NOTHING = 0
    PING = 1
    END = 2


class PushConnection:
    """`now` is monotonic seconds; it starts paused, until `resume` says that bytes may go out."""

    __slots__ = (
        "_pending",
        "_quiet_until",
        "cursor",
        "end_reason",
        "ends_at",
        "filtered",
        "filtered_cursor",
        "last_event_at",
        "merges",
        "opened_at",
        "options",
        "paused_at",
    )

    def __init__(self, options: PushOptions, now: float, *, ends_at: float = math.inf) -> None:
        self.options = options
        self.ends_at = ends_at
        self.cursor = ""  # of the newest change received, told or not
        self.end_reason: EndReason | None = None
        self.merges = 0  # changes that waited, and were told together with others
        self.filtered = 0  # changes of which no type was asked for
        self.filtered_cursor: str | None = None  # of the last of them
        self.paused_at: float | None = now  # since when the peer takes nothing
        self._pending: dict[str, dict[str, str]] | None = None
        self.opened_at = now
        self.last_event_at = now  # a StateChange or a ping
        self._quiet_until = -math.inf

    @property
    def pending(self) -> Mapping[str, Mapping[str, str]]:
        """What waits to be told: account -> type -> state."""
        return self._pending or {}

    @property
    def is_over(self) -> bool:
        """Nothing may be told any more."""
        return self.end_reason is not None

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    @property
    def flush_at(self) -> float:
        """When `take` will give a message; infinite while there is none or the peer is slow."""
        if self._pending is None or self.paused_at is not None or self.end_reason is not None:
            return math.inf
        return self._quiet_until

    @property
    def wake_at(self) -> float:
        """When `wake` wants to be called at the latest; too early does no harm."""
        if self.paused_at is not None:
            return min(self.ends_at, self.paused_at + self.options.stall_seconds)
        if self.options.ping_seconds:
            return min(self.ends_at, self.last_event_at + self.options.ping_seconds)
        return self.ends_at

    def receive(self, change: Change, now: float) -> bool:
        """True: the caller sends `change`, cut to the types, now."""
        if self.end_reason is not None:
            return False
        self.cursor = change.cursor
        types = self.options.types
        wanted = change.changed if types is None else change.wanted(types)
        if not wanted:
            self.filtered += 1
            self.filtered_cursor = change.cursor
            return False
        if self._pending is None and self.paused_at is None and now >= self._quiet_until:
            self._told(now)
            return True
        self._merge(change.account_id, wanted)
        return False

    def catch_up(self, changed: Mapping[str, Mapping[str, str]], cursor: str) -> int:
        """Merge what a join found to be missed since the client's cursor: so many states."""
        if self.end_reason is not None:
            return 0
        self.cursor = cursor
        types = self.options.types
        missed = 0
        for account_id, states in changed.items():
            wanted = {t: s for t, s in states.items() if types is None or t in types}
            if wanted:
                self._merge(account_id, wanted)
                missed += len(wanted)
        return missed

    def ask(self, options: PushOptions) -> None:
        """The client asks for other types from now on."""
        self.options = options
        types = options.types
        if self._pending is not None and types is not None:
            cut = {
                account_id: {name: state for name, state in states.items() if name in types}
                for account_id, states in self._pending.items()
            }
            self._pending = {account_id: states for account_id, states in cut.items() if states}
            self._pending = self._pending or None

    def retain(self, account_ids: Collection[str]) -> None:
        """Forget what is pending of accounts that the client may no longer see."""
        if self._pending is not None:
            kept = {a: states for a, states in self._pending.items() if a in account_ids}
            self._pending = kept or None

    def take(self, now: float) -> PushMessage | None:
        """The pending StateChange, once it is due; the caller sends it now."""
        if self._pending is None or now < self.flush_at:
            return None
        return self._take(self._pending, now)

    def end(self, reason: EndReason, now: float) -> PushMessage | None:
        """Over, for the first reason given; the caller sends what this returns, and closes."""
        last = None
        if self.end_reason is None and self._pending is not None and self.paused_at is None:
            last = self._take(self._pending, now)
        self.end_reason = self.end_reason or reason
        return last

    def wake(self, now: float) -> Due:
        """PING: the caller sends one now. END: it ends the connection, for `end_reason`."""
        if self.end_reason is not None:
            return Due.END
        if now >= self.ends_at:
            self.end_reason = EndReason.LIFETIME
            return Due.END
        if now < self.wake_at:
            return Due.NOTHING
        if self.paused_at is not None:
            self.end_reason = EndReason.STALLED
            return Due.END
        self.last_event_at = now
        return Due.PING

    def pause(self, now: float) -> None:
        """The peer does not take what was sent: only merge."""
        if self.paused_at is None:
            self.paused_at = now

    def resume(self) -> None:
        self.paused_at = None

    def _take(self, pending: dict[str, dict[str, str]], now: float) -> PushMessage:
        self._pending = None
        self._told(now)
        return PushMessage(pending, self.cursor)

    def _told(self, now: float) -> None:
        self.last_event_at = now
        self._quiet_until = now + self.options.flush_seconds
        if self.options.closes_after_state:
            self.end_reason = EndReason.STATE_SENT

    def _merge(self, account_id: str, states: Mapping[str, str]) -> None:
        self.merges += 1
        if self._pending is None:
            self._pending = {}
        self._pending.setdefault(account_id, {}).update(states)
