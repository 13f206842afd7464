"""An endpoint under a machine of events, lagging replicas, splits and failures."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.webhooks.position import Position, completed_by
from shared.jmap.state_change import parts_of
from shared.log.event import Cause, OrderedState, StoredEvent, next_event

ACCOUNTS = ("a1", "a2", "a3")
TYPES = ("Email", "Mailbox", "Thread")


def log_of(*changes: tuple[str, str]) -> dict[str, list[StoredEvent]]:
    """Account -> its events; the sequence is the place of the change, from 1 on."""
    log: dict[str, list[StoredEvent]] = {}
    for sequence, (account_id, type_name) in enumerate(changes, 1):
        append(log, account_id, type_name, sequence)
    return log


def append(
    log: dict[str, list[StoredEvent]], account_id: str, type_name: str, sequence: int
) -> None:
    events = log.setdefault(account_id, [])
    state = OrderedState(f"s{sequence}", sequence)
    event = next_event(
        events[-1] if events else None, {type_name: state}, at="2026-01-01", cause=Cause()
    )
    assert event is not None
    events.append(StoredEvent(sequence, event))


def last_events(
    log: dict[str, list[StoredEvent]], up_to: int, *, after: int
) -> dict[str, StoredEvent]:
    """As a replica has them that knows the log up to `up_to`."""
    found = {}
    for account_id, events in log.items():
        known = [event for event in events if event.sequence <= up_to]
        if known and known[-1].sequence > after:
            found[account_id] = known[-1]
    return found


def test_the_difference_is_what_changed_after_the_cursor() -> None:
    log = log_of(("a1", "Email"), ("a1", "Mailbox"), ("a2", "Email"))

    assert Position(1).difference(last_events(log, 3, after=1), None) == {
        "a1": {"Mailbox": "s2"},
        "a2": {"Email": "s3"},
    }
    assert Position(0).difference(last_events(log, 3, after=0), {"Email"}) == {
        "a1": {"Email": "s1"},
        "a2": {"Email": "s3"},
    }
    assert Position(0, {"a1": 2}).difference(last_events(log, 2, after=0), None) == {}


def test_a_superset_has_every_state_of_the_accounts_that_changed() -> None:
    log = log_of(("a1", "Email"), ("a2", "Email"), ("a1", "Mailbox"))
    events = last_events(log, 3, after=2)

    assert Position(2).superset(events, None) == {"a1": {"Email": "s1", "Mailbox": "s3"}}
    assert Position(2).superset(events, {"Email"}) == {}
    assert Position(3).superset(last_events(log, 3, after=0), None) == {}


def test_what_was_told_beyond_the_cursor_is_kept_until_the_cursor_is_there() -> None:
    told = Position(1).after_telling(["a1"], {"a1": 4, "a2": 5})

    assert told == Position(1, {"a1": 4})
    assert told.fence == 4
    assert told.after_all({"a1": 4, "a2": 5}, 4) == Position(4, {"a2": 5})
    assert told.after_all({}, 3) == Position(3, {"a1": 4})
    assert Position(7).after_all({}, 3) == Position(7)


def test_an_account_is_complete_with_the_last_part_that_has_it() -> None:
    changed = {"a1": dict.fromkeys(TYPES, "s1"), "a2": {"Email": "s1"}, "a3": {"Email": "s1"}}
    parts = parts_of(changed, 80)

    assert len(parts) > 2
    done = completed_by(parts)
    assert set().union(*done) == set(ACCOUNTS)
    for place, accounts in enumerate(done):
        assert not any(name in part for name in accounts for part in parts[place + 1 :])


class Endpoint(RuleBasedStateMachine):
    """Told by reads from replicas that lag, in parts that fail."""

    def __init__(self) -> None:
        super().__init__()
        self.log: dict[str, list[StoredEvent]] = {}
        self.end = 0
        self.position = Position(0)
        self.target = 0
        self.knows: dict[tuple[str, str], int] = {}

    @rule(account=st.sampled_from(ACCOUNTS), type_name=st.sampled_from(TYPES))
    def change(self, account: str, type_name: str) -> None:
        self.end += 1
        append(self.log, account, type_name, self.end)

    @rule(lag=st.integers(0, 5))
    def merge(self, lag: int) -> None:
        self.target = max(self.target, self.end - lag)

    @rule(
        lag=st.integers(0, 5),
        ahead=st.integers(0, 3),
        fails_at=st.none() | st.integers(0, 4),
        octets_max=st.sampled_from([60, 90, 10_000]),
    )
    def look(self, lag: int, ahead: int, fails_at: int | None, octets_max: int) -> None:
        fence = max(self.target, self.position.fence)
        up_to = max(fence, self.end - lag)
        # A read says up to where it is complete; some of its events may be newer.
        events = last_events(self.log, min(self.end, up_to + ahead), after=self.position.cursor)
        sequences = {name: stored.sequence for name, stored in events.items()}
        changed = self.position.difference(events, None)
        parts = parts_of(changed, octets_max) if changed else []
        for place, part in enumerate(parts):
            for account_id, states in part.items():
                for type_name, state in states.items():
                    self.tell(account_id, type_name, int(state[1:]))
            if place == fails_at:  # it was heard, and not answered: the lane's target remembers
                self.target = max(self.target, up_to, *sequences.values())
                return
            self.position = self.position.after_telling(completed_by(parts)[place], sequences)
        self.position = self.position.after_all(sequences, up_to)

    def tell(self, account_id: str, type_name: str, state: int) -> None:
        assert state >= self.knows.get((account_id, type_name), 0), "told an older state"
        self.knows[account_id, type_name] = state

    @invariant()
    def knows_all_up_to_the_cursor(self) -> None:
        for account_id, events in self.log.items():
            for event in events:
                if event.sequence <= self.position.cursor:
                    for type_name, state in event.event.changed.items():
                        assert self.knows.get((account_id, type_name), 0) >= state.order

    def teardown(self) -> None:
        self.target = self.end
        self.look(lag=0, ahead=0, fails_at=None, octets_max=10_000)
        self.knows_all_up_to_the_cursor()
        assert self.position.cursor == self.end
        assert self.position.told == {}


TestEndpoint = Endpoint.TestCase
TestEndpoint.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@given(st.integers(0, 9), st.dictionaries(st.sampled_from(ACCOUNTS), st.integers(0, 20)))
def test_the_fence_is_the_greatest_sequence_ever_told(cursor: int, told: dict[str, int]) -> None:
    assert Position(cursor, told).fence == max([cursor, *told.values()])
