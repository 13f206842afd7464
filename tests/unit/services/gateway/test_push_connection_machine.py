"""Any order of changes, pauses, joins and time: the client ends at the newest, never goes back."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.gateway.push_connection import Change, Due, PushConnection, PushOptions

FLUSH_SECONDS = 1 / 64  # binary fractions only, so that sums are exact
accounts = st.sampled_from(["a1", "a2", "a3"])
type_names = st.sampled_from(["Email", "Mailbox", "Thread"])
type_sets = st.none() | st.frozensets(type_names, min_size=1)


class PushConnectionMachine(RuleBasedStateMachine):
    """Sequence numbers stand for state tokens, so that older and newer can be told."""

    @initialize(types=type_sets, ping=st.sampled_from([0, 30]), once=st.booleans())
    def connect(self, types: frozenset[str] | None, ping: int, *, once: bool) -> None:
        self.types = types
        self.now = 1000.0
        self.sequence = 0
        self.newest: dict[tuple[str, str], int] = {}
        self.told: dict[tuple[str, str], int] = {}
        self.last_event_at = self.now
        self.last_state_at = -1.0
        self.state_events = 0
        self.push = PushConnection(
            PushOptions(
                types=types,
                ping_seconds=ping,
                closes_after_state=once,
                flush_seconds=FLUSH_SECONDS,
                stall_seconds=1e9,
            ),
            self.now,
        )

    @rule(account=accounts, names=st.sets(type_names, min_size=1))
    def change(self, account: str, names: set[str]) -> None:
        self.sequence += 1
        states = {name: str(self.sequence) for name in names}
        self._remember(account, names)
        change = Change(account, states, f"c{self.sequence}")
        if self.push.receive(change, self.now):
            wanted = change.changed if self.types is None else change.wanted(self.types)
            self._client_reads({account: wanted}, change.cursor)

    @rule(accounts=st.sets(accounts), names=st.sets(type_names, min_size=1))
    def join_again(self, accounts: set[str], names: set[str]) -> None:
        """What happened meanwhile comes as one difference."""
        self.sequence += 1
        for account in accounts:
            self._remember(account, names)
        missed = {account: dict.fromkeys(names, str(self.sequence)) for account in accounts}
        self.push.catch_up(missed, f"c{self.sequence}")

    @rule()
    def stall(self) -> None:
        self.push.pause(self.now)

    @rule()
    def drain(self) -> None:
        self.push.resume()

    @rule(seconds=st.sampled_from([1 / 1024, FLUSH_SECONDS, 1.0, 29.875, 30.0, 400.0]))
    def wait(self, seconds: float) -> None:
        """The adapter flushes and wakes when it was asked to."""
        until = self.now + seconds
        while min(self.push.flush_at, self.push.wake_at) <= until and not self.push.is_over:
            self.now = max(self.now, min(self.push.flush_at, self.push.wake_at))
            self._act()
        self.now = until

    def _act(self) -> None:
        message = self.push.take(self.now)
        if message is not None:
            self._client_reads(message.changed, message.cursor)
        if self.push.wake(self.now) is Due.PING:
            assert self.push.options.ping_seconds
            assert self.now - self.last_event_at >= self.push.options.ping_seconds
            self.last_event_at = self.now

    def _remember(self, account: str, names: set[str]) -> None:
        for name in names:
            if self.types is None or name in self.types:
                self.newest[account, name] = self.sequence

    def _client_reads(self, changed: Any, cursor: str) -> None:
        assert self.now - self.last_state_at >= FLUSH_SECONDS
        assert cursor == f"c{self.sequence}", "what it was told is all there was"
        assert changed
        for account, states in changed.items():
            assert states
            for name, state in states.items():
                assert self.types is None or name in self.types
                assert int(state) > self.told.get((account, name), 0), "never told twice or back"
                self.told[account, name] = int(state)
        self.last_event_at = self.last_state_at = self.now
        self.state_events += 1

    @invariant()
    def ends_at_the_newest_once_it_may_flush(self) -> None:
        if not hasattr(self, "push"):
            return
        if self.push.options.closes_after_state:
            assert self.state_events <= 1
            assert self.push.is_over == (self.state_events == 1)
        elif self.push.flush_at == float("inf") and self.push.wake_at == self._idle_wake_at():
            assert self.told == self.newest

    def _idle_wake_at(self) -> float:
        """When an unpaused connection wakes next: tells it from a paused one."""
        ping = self.push.options.ping_seconds
        return self.last_event_at + ping if ping else float("inf")


PushConnectionMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None
)
TestPushConnection = PushConnectionMachine.TestCase
