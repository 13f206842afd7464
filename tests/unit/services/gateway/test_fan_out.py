"""Any interleaving of appends, tailing, joins and reconnects, over a log that is a plain list."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.gateway.fan_out import FanOut
from shared.log.event import Event, StoredEvent
from shared.log.pull import TailBrokenError
from tests.support.plain_log import ACCOUNTS, Client, PlainLog

TYPES = ["Email", "Mailbox"]

accounts = st.sampled_from(ACCOUNTS)
names = st.sampled_from(TYPES)
mutations = st.lists(st.tuples(accounts, names, st.booleans()), min_size=1, max_size=4)

Mutations: TypeAlias = Sequence[tuple[str, str, bool]]
"""Account, type, and whether it is an earlier one that is repeated."""


class FanOutMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.failures: list[object] = []
        self.loop.set_exception_handler(lambda _, context: self.failures.append(context))
        self.log = PlainLog()
        self.orders = dict.fromkeys(ACCOUNTS, 0)
        self.newest: dict[tuple[str, str], int] = {}
        self.clients = [Client(self.log) for _ in range(3)]
        self.run_task: asyncio.Task[None] | None = None

    @initialize(recent=st.just(1))
    def start(self, recent: int) -> None:
        self.recent = recent
        self.start_gateway()

    @rule(mutations=mutations)
    def mutate(self, mutations: Mutations) -> None:
        for account, name, late in mutations:
            self.append(account, name, late)

    def append(self, account: str, name: str, late: bool) -> None:  # noqa: FBT001
        """A mutation, or a sweeper that repeats an earlier one."""
        if not late:
            self.orders[account] += 1
            self.newest[account, name] = self.orders[account]
        order = self.orders[account] if not late else self.newest.get((account, name), 0)
        if order:
            self.log.append(account, name, order)

    @precondition(lambda self: self.log.position < self.log.last_sequence and self.log.deliver)
    @rule(data=st.data())
    def tail(self, data: st.DataObject) -> None:
        for _ in range(data.draw(st.integers(1, 3))):
            if self.log.position < self.log.last_sequence:
                self.tail_one()

    @rule(account=accounts)
    def forget(self, account: str) -> None:
        self.log.forget(account)

    @rule(client=st.integers(0, 2), garbage=st.sampled_from([None, "", "1.e1.999999", "1.zz.3"]))
    def connect(self, client: int, garbage: str | None) -> None:
        it = self.clients[client]
        if not it.is_connected and it.joining is None:
            cursor = it.cursor if garbage is None else garbage
            it.joining = self.loop.create_task(it.join(self.fan_out, cursor))
            self.turn()

    @precondition(lambda self: bool(self.log.reads))
    @rule(data=st.data())
    def answer_read(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.log.reads) - 1))
        lags = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=len(ACCOUNTS)))
        self.log.answer_read(index, *lags)
        self.turn()

    def answer_read_now(self, *lags: int) -> None:
        self.log.answer_read(0, *lags)
        self.turn()

    @rule(client=st.integers(0, 2))
    def disconnect(self, client: int) -> None:
        it = self.clients[client]
        if it.is_connected:
            self.fan_out.leave(it)
            it.is_connected = False

    @rule(fate=st.integers(0, 9), meanwhile=mutations)
    def meet_fate(self, fate: int, meanwhile: Mutations) -> None:
        """Seldom, so that between two of them something can build up."""
        if fate == 0:
            self.restart_gateway()
        elif fate == 1:
            self.lose_log(meanwhile)

    def restart_gateway(self) -> None:
        """kill -9: nothing but the clients' cursors is left."""
        self.stop_gateway()
        self.start_gateway()

    def lose_log(self, meanwhile: Mutations = ()) -> None:
        """The stream is made anew from the states that are in PostgreSQL.

        `meanwhile` happens after the gateway looked at it, and before its read is answered.
        """
        self.log.epoch = f"e{int(self.log.epoch[1:]) + 1}"
        self.log.first_sequence = self.log.last_sequence + 1_000_000
        self.log.events.clear()
        self.log.deliver = None  # its consumer is gone with it
        for (account_id, name), order in self.newest.items():
            self.log.append(account_id, name, order)
        self.fan_out.doubt()
        for _ in range(20):
            self.loop.run_until_complete(asyncio.sleep(0))
        self.mutate(meanwhile)
        self.until_live()

    @invariant()
    def whoever_is_connected_is_at_the_newest_when_all_was_passed_on(self) -> None:
        if self.run_task is None or self.log.position < self.log.last_sequence:
            return
        self.turn()
        for client in self.clients:
            if client.is_connected:
                assert client.known == self.newest

    def teardown(self) -> None:
        if self.run_task is not None:
            for client in self.clients:
                if not client.is_connected and client.joining is None:
                    client.joining = self.loop.create_task(client.join(self.fan_out, client.cursor))
            while any(client.joining for client in self.clients):
                self.tail_all()
                while self.log.reads:
                    self.log.answer_read(0, 0)
                self.turn()
            self.tail_all()
            self.turn()
            assert all(client.known == self.newest for client in self.clients)
            self.stop_gateway()
        self.loop.close()

    def start_gateway(self) -> None:
        self.log.position = 0
        self.log.deliver = None
        self.fan_out = FanOut(
            self.log, self.log, self.log.verify, recent_accounts_max=self.recent, retry_seconds=0
        )
        self.run_task = self.loop.create_task(self.fan_out.run())
        self.until_live()

    def stop_gateway(self) -> None:
        for client in self.clients:
            if client.joining is not None:
                self.cancel(client.joining)
        assert self.run_task is not None
        self.cancel(self.run_task)
        for client in self.clients:
            client.joining, client.is_connected = None, False
        self.log.reads.clear()

    def cancel(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self.loop.run_until_complete(asyncio.gather(task, return_exceptions=True))

    def until_live(self) -> None:
        """Let the fan-out check the log and catch up; a read on the way is answered."""

        async def live() -> None:
            while not self.fan_out.is_live:
                for index in range(len(self.log.reads)):
                    if self.log.reads[index][0] == tuple(self.fan_out._index):
                        self.log.answer_read(index, 0)
                        break
                self.tail_all()
                await asyncio.sleep(0)

        self.loop.run_until_complete(asyncio.wait_for(live(), 5))
        self.turn()

    def tail_one(self) -> None:
        for account_id, stored in self.log.events:
            if stored.sequence > self.log.position and stored.sequence not in self.log.forgotten:
                assert self.log.deliver is not None
                self.log.deliver(account_id, stored)
                self.log.position = stored.sequence
                return
        self.log.position = self.log.last_sequence  # past the clock

    def tail_all(self) -> None:
        while self.log.deliver is not None and self.log.position < self.log.last_sequence:
            self.tail_one()

    def turn(self) -> None:
        """Let everything that can go on go on."""
        for _ in range(20):
            self.loop.run_until_complete(asyncio.sleep(0))
        assert self.failures == []


FanOutMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestFanOut = FanOutMachine.TestCase


class Stepped:
    """The machine's parts, moved by hand."""

    def __init__(self) -> None:
        self.machine = FanOutMachine()
        self.machine.recent = 1
        self.machine.start_gateway()
        self.client = self.machine.clients[0]
        for account_id in ACCOUNTS:  # more than are remembered: a join must read
            self.change(account_id, "Email")
        self.machine.tail_all()

    def change(self, account_id: str, name: str) -> None:
        self.machine.append(account_id, name, late=False)

    def join(self, cursor: str) -> None:
        self.machine.connect(0, cursor)

    def end(self) -> None:
        self.machine.teardown()


def test_all_of_what_came_while_a_join_was_reading_is_told() -> None:
    """Two events of one account, both newer than the read: the newest alone would hide one."""
    it = Stepped()
    it.join("unknown")
    it.change("a1", "Email")
    it.change("a1", "Mailbox")
    it.machine.tail_all()
    it.machine.answer_read_now(2)

    assert it.client.known == {("a1", "Email"): 2, ("a1", "Mailbox"): 3, ("a2", "Email"): 1}
    it.end()


def test_what_the_log_dropped_before_the_tail_came_to_it_is_told_with_the_next() -> None:
    it = Stepped()
    it.join("1.e1.2")
    it.machine.turn()
    it.change("a1", "Mailbox")
    it.change("a2", "Email")
    it.change("a1", "Email")
    for _ in range(2):  # of a1: what was read, and the Mailbox
        it.machine.log.forget("a1")
    it.machine.tail_all()
    assert it.client.known["a1", "Mailbox"] == 2

    it.machine.turn()
    it.change("a1", "Email")
    it.machine.tail_all()
    assert it.machine.fan_out._skipped_from is None, "each event tells its own again"
    it.end()


def test_what_was_kept_is_told_together_with_what_was_read() -> None:
    """Told one by one, the connection may break in between: no cursor covers half of it."""
    it = Stepped()
    it.join("unknown")
    for account_id, name in [("a1", "Email"), ("a2", "Email"), ("a1", "Mailbox")]:
        it.change(account_id, name)
    it.machine.tail_all()
    it.machine.answer_read_now(3)

    assert it.client.cursor == "1.e1.5"
    assert it.client.known == {("a1", "Email"): 2, ("a2", "Email"): 2, ("a1", "Mailbox"): 3}
    it.end()


def test_of_an_event_newer_than_the_read_is_told_what_the_read_covers() -> None:
    """Many accounts need several requests, and the tail may be behind the last of them."""
    it = Stepped()
    it.change("a2", "Mailbox")  # 3
    it.join("unknown")
    it.change("a2", "Email")  # 4
    it.change("a2", "Email")  # 5
    it.machine.answer_read_now(2, 0)

    assert it.client.cursor == "1.e1.3"
    assert it.client.known == {("a1", "Email"): 1, ("a2", "Mailbox"): 2}
    it.end()


def test_what_changes_while_a_new_log_is_read_takes_nobody_back() -> None:
    it = Stepped()
    it.join("unknown")
    it.machine.answer_read_now(0)
    it.machine.lose_log(meanwhile=[("a1", "Email", False), ("a1", "Email", False)])

    assert it.client.known["a1", "Email"] == 3
    it.end()


def test_a_read_of_a_log_that_was_replaced_meanwhile_is_done_again() -> None:
    it = Stepped()
    it.change("a1", "Email")
    it.machine.tail_all()
    it.join("unknown")
    it.machine.log.answer_read(0, 0)  # the answer is under way
    it.machine.lose_log()

    it.machine.answer_read_now(0)
    assert it.client.cursor == f"1.e2.{it.machine.log.last_sequence}"
    it.end()


def test_what_a_read_told_is_not_told_again_when_the_tail_comes_to_it() -> None:
    """The tail may be behind the read: its older events would take the client back."""
    it = Stepped()
    it.join("unknown")
    it.change("a1", "Email")
    it.change("a1", "Email")
    it.machine.answer_read_now(0)
    assert it.client.known["a1", "Email"] == 3

    it.machine.tail_one()
    it.machine.tail_one()
    it.end()


def test_after_a_tombstone_nobody_listens_to_the_account_and_the_others_go_on() -> None:
    it = Stepped()
    it.join("unknown")
    it.machine.answer_read_now(0)
    tombstone = Event(changed={}, unchanged={}, at="", is_removal=True)
    sequence = it.machine.log.last_sequence + 1
    it.machine.fan_out.receive("a1", StoredEvent(sequence, tombstone))

    assert "a1" not in it.machine.fan_out._index
    it.change("a2", "Email")
    it.machine.tail_all()
    assert it.client.known["a2", "Email"] == 2
    it.end()


async def test_it_ends_when_it_is_cancelled_also_while_the_log_fails() -> None:
    """A task group whose child fails while it is cancelled raises the failure only."""

    class FailingTail(PlainLog):
        async def follow(self, receive: Callable[[str, StoredEvent], None]) -> None:
            try:
                await super().follow(receive)
            finally:
                raise TailBrokenError("while it ended")

    log = FailingTail()
    fan_out = FanOut(log, log, log.verify)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(fan_out.run())
        while not fan_out.is_live:  # noqa: ASYNC110 - a few turns of the loop
            await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
