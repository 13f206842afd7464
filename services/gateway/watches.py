"""Operators who watch connections live; no I/O.

A watched connection's ring is replaced by one that also tells those who watch, so connections that
nobody watches pay nothing. What an operator does not take in time is dropped and counted, and a
watch ends when its operator does not renew it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator

from services.gateway.facts import matches
from services.gateway.record import Entry, Note, Recorded, Ring
from shared.operate.connections import ConnectionFilter, WatchConnections

WATCHES_MAX = 16  # of a process
WATCHED_MAX = 1000  # connections of one watch
WAITING_MAX = 1000  # moments of one watch that were not sent yet


class TooManyWatchesError(Exception):
    """WATCHES_MAX operators watch already."""


class Watch:
    """One operator's, between two messages to its inbox."""

    def __init__(self, asked: WatchConnections, inbox: str, until: float) -> None:
        self.id = asked.watch
        self.wanted: ConnectionFilter = asked.filter
        self.by = asked.by
        self.inbox = inbox
        self.until = until  # monotonic seconds
        self.is_confirmed = True  # false: nothing may be sent before it is renewed
        self.number = 0  # of the last message
        self.dropped = 0  # since the last message
        self.connections = 0  # watched now
        self._waiting: deque[tuple[Recorded, Entry]] = deque()

    @property
    def has_news(self) -> bool:
        return bool(self._waiting or self.dropped)

    def tell(self, connection: Recorded, entry: Entry) -> None:
        if len(self._waiting) < WAITING_MAX:
            self._waiting.append((connection, entry))
        else:
            self.dropped += 1

    def take(self, count: int) -> Iterator[tuple[Recorded, Entry]]:
        """The oldest `count` that wait."""
        while self._waiting and count:
            count -= 1
            yield self._waiting.popleft()

    def take_dropped(self) -> int:
        dropped, self.dropped = self.dropped, 0
        return dropped


class Tap:
    """In the place of a watched connection's ring."""

    def __init__(self, connection: Recorded, ring: Ring) -> None:
        self.connection = connection
        self.ring = ring
        self.watches: set[Watch] = set()

    def __len__(self) -> int:
        return len(self.ring)

    def append(self, entry: Entry) -> None:
        self.ring.append(entry)
        self._tell(entry)

    def make_room(self, kept: int) -> None:
        self.ring.make_room(kept)

    def add_up(self, note: Note) -> None:
        self._tell(Note(note.at, note.kind, octets=note.octets, detail=note.detail))
        self.ring.add_up(note)

    def tell(self, note: Note) -> None:
        self._tell(note)

    def entries(self) -> tuple[Entry, ...]:
        return self.ring.entries()

    def _tell(self, entry: Entry) -> None:
        for watch in self.watches:
            watch.tell(self.connection, entry)


class Watches:
    """All of a process."""

    def __init__(self, gateway_id: str, new_ring: Callable[[None], Ring]) -> None:
        self._gateway_id = gateway_id
        self._new_ring = new_ring
        self._watches: dict[str, Watch] = {}
        self._taps: dict[int, Tap] = {}  # by the connection's number

    def __len__(self) -> int:
        return len(self._watches)

    def __iter__(self) -> Iterator[Watch]:
        return iter(tuple(self._watches.values()))

    def renew(self, asked: WatchConnections, inbox: str, now: float) -> Watch:
        """Begin it, or go on with it; the caller `watch`es what matches. Raises."""
        watch = self._watches.get(asked.watch)
        if watch is None:
            if len(self._watches) >= WATCHES_MAX:
                raise TooManyWatchesError
            watch = self._watches[asked.watch] = Watch(asked, inbox, now)
        watch.until = now + asked.lease_seconds
        watch.inbox, watch.is_confirmed = inbox, True
        return watch

    def end(self, watch_id: str) -> None:
        """Harmless to say twice."""
        watch = self._watches.pop(watch_id, None)
        if watch is not None:
            for tap in tuple(self._taps.values()):
                self._leave(tap, {watch})

    def end_old(self, now: float) -> Collection[Watch]:
        """Those whose operators went."""
        ended = [watch for watch in self if watch.until <= now]
        for watch in ended:
            self.end(watch.id)
        return ended

    def watch(self, watch: Watch, connection: Recorded) -> None:
        """From now on; harmless to say twice."""
        tap = self._taps.get(connection.number)
        if watch.id not in self._watches or (tap is not None and watch in tap.watches):
            return
        if watch.connections >= WATCHED_MAX:
            return
        if tap is None:
            ring = self._new_ring(None) if connection.ring is None else connection.ring
            tap = self._taps[connection.number] = Tap(connection, ring)
            connection.ring = tap
        tap.watches.add(watch)
        watch.connections += 1

    def opened(self, connection: Recorded) -> None:
        """A connection came."""
        for watch in self:
            if matches(connection, watch.wanted, self._gateway_id):
                self.watch(watch, connection)
        self._tell(connection, Note(connection.push.opened_at, "opened"))

    def ended(self, connection: Recorded, note: Note) -> None:
        """A connection went; whoever watched it is told, and lets go of it."""
        self._tell(connection, note)
        tap = self._taps.get(connection.number)
        if tap is not None:
            self._leave(tap, set(tap.watches))

    def _tell(self, connection: Recorded, note: Note) -> None:
        if connection.ring is not None:
            connection.ring.tell(note)

    def _leave(self, tap: Tap, watches: set[Watch]) -> None:
        for watch in tap.watches & watches:
            watch.connections -= 1
        tap.watches -= watches
        if not tap.watches:
            tap.connection.ring = tap.ring
            del self._taps[tap.connection.number]
