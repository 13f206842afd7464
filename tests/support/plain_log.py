"""A log that is a plain list, and a client of a fan-out that knows what it may be told.

The fakes hold to what the real tail and reader do (tests/integration/shared/log). Time does not
pass here: a test decides when a read answers, and how stale its replicas are.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from itertools import cycle

from services.gateway.fan_out import FanOut, Update
from shared.log.cursor import decode_cursor
from shared.log.event import Cause, OrderedState, StoredEvent, next_event
from shared.log.keeper import SoundLog
from shared.log.reader import Snapshot

ACCOUNTS = ["a1", "a2"]


class PlainLog:
    """Stream, tail and reader in one."""

    def __init__(self) -> None:
        self.epoch = "e1"
        self.first_sequence = 1
        self.events: list[tuple[str, StoredEvent]] = []
        self.forgotten = set[int]()  # sequences that the tail does not get any more
        self.position = 0
        self.deliver: Callable[[str, StoredEvent], None] | None = None
        self.reads: list[tuple[Collection[str], int, int, asyncio.Future[Snapshot]]] = []

    @property
    def last_sequence(self) -> int:
        return self.events[-1][1].sequence if self.events else self.first_sequence - 1

    def last_event(self, account_id: str, up_to: int) -> StoredEvent | None:
        for account, stored in reversed(self.events):
            if account == account_id and stored.sequence <= up_to:
                return stored
        return None

    def append(self, account_id: str, type_name: str, order: int) -> None:
        states = {type_name: OrderedState(f"s{order}", order)}
        previous = self.last_event(account_id, self.last_sequence)
        event = next_event(previous, states, at="", cause=Cause())
        if event is not None:
            self.events.append((account_id, StoredEvent(self.last_sequence + 1, event)))

    def forget(self, account_id: str) -> None:
        """The oldest of several events of the account, as a stream with a limit for each does.

        A replica that has not heard of later ones has it still.
        """
        kept = [stored.sequence for name, stored in self.events if name == account_id]
        kept = [sequence for sequence in kept if sequence not in self.forgotten]
        if len(kept) > 1:
            self.forgotten.add(kept[0])

    async def follow(self, receive: Callable[[str, StoredEvent], None]) -> None:
        self.deliver = receive
        await asyncio.Event().wait()

    async def reached(self, sequence: int) -> None:
        while self.position < sequence:  # noqa: ASYNC110 - the machine moves it
            await asyncio.sleep(0)

    async def read(self, account_ids: Collection[str], *, after: int, fence: int) -> Snapshot:
        future: asyncio.Future[Snapshot] = asyncio.get_running_loop().create_future()
        self.reads.append((account_ids, after, fence, future))
        return await future

    async def verify(self, *, seen: int, seen_epoch: str | None) -> SoundLog:
        del seen, seen_epoch
        return SoundLog(self.epoch, self.first_sequence, self.last_sequence)

    def answer_read(self, index: int, *lags: int) -> None:
        """Replicas answer that are so many events behind, but not behind the fence.

        One lag for all accounts, or one for each: as a reader does that needs several requests.
        """
        account_ids, after, fence, future = self.reads.pop(index)
        up_tos = [max(fence, self.last_sequence - lag) for lag in lags]
        events = {
            account_id: stored
            for account_id, up_to in zip(account_ids, cycle(up_tos), strict=False)
            if (stored := self.last_event(account_id, up_to)) and stored.sequence > after
        }
        if not future.done():
            future.set_result(Snapshot(events, min(up_tos)))

    def sequence_of(self, account_id: str, type_name: str, state: str) -> int:
        """Of the event that brought the state; 0 when a log brought it that is gone."""
        for account, stored in self.events:
            changed = stored.event.changed.get(type_name)
            if account == account_id and changed is not None and changed.state == state:
                return stored.sequence
        return 0


class Client:
    def __init__(self, log: PlainLog) -> None:
        self.log = log
        self.known: dict[tuple[str, str], int] = {}
        self.cursor: str | None = "new"
        self.joining: asyncio.Task[None] | None = None
        self.is_connected = False

    async def join(self, fan_out: FanOut, cursor: str | None) -> None:
        joined = await fan_out.join(self, ACCOUNTS, cursor)
        for account_id, changed in joined.changed.items():
            self.learn(account_id, changed, joined.cursor)
        self.cursor = joined.cursor
        self.joining, self.is_connected = None, True

    def receive(self, update: Update) -> None:
        assert self.is_connected, "an update came before the answer to the join, or after the end"
        self.learn(update.account_id, update.changed, update.cursor)
        self.cursor = update.cursor

    def resynchronise(self) -> None:
        raise AssertionError("the fan-out gave up on a listener")

    def learn(self, account_id: str, changed: Mapping[str, str], cursor: str) -> None:
        """A cursor covers what came with it: any gateway that has read so far tells no older state.

        A sequence of 0 stands for nothing, and is answered with all that the log's leader has.
        """
        covered = decode_cursor(cursor)
        assert covered is not None
        for type_name, state in changed.items():
            if covered.sequence and covered.epoch == self.log.epoch:
                sequence = self.log.sequence_of(account_id, type_name, state)
                assert sequence <= covered.sequence, "told what its cursor does not cover"
            order = int(state[1:])
            assert order >= self.known.get((account_id, type_name), 0), "told an older state"
            self.known[account_id, type_name] = order
