import math

import pytest

from services.gateway.push_connection import (
    Change,
    Due,
    EndReason,
    PushConnection,
    PushMessage,
    PushOptions,
)


def change(sequence: int, account_id: str = "a1", **states: str) -> Change:
    return Change(account_id, states or {"Email": f"s{sequence}"}, f"c{sequence}")


def connected(now: float = 0.0, *, ends_at: float = math.inf, **options: object) -> PushConnection:
    push = PushConnection(PushOptions(**options), now, ends_at=ends_at)  # type: ignore[arg-type]
    push.resume()
    return push


def test_the_first_change_is_sent_at_once_and_as_it_is() -> None:
    push = connected()

    assert push.receive(change(1), 5.0)
    assert push.take(5.0) is None
    assert push.cursor == "c1"


def test_changes_within_the_flush_time_become_one_message() -> None:
    push = connected(flush_seconds=0.02)
    push.receive(change(1), 5.0)

    told = [
        push.receive(change(2), 5.001),
        push.receive(change(3, Email="s3", Mailbox="s3"), 5.002),
        push.receive(change(4, "a2"), 5.003),
    ]

    assert told == [False, False, False]
    assert push.flush_at == 5.02
    assert push.take(5.01) is None
    assert push.take(5.02) == PushMessage(
        {"a1": {"Email": "s3", "Mailbox": "s3"}, "a2": {"Email": "s4"}}, "c4"
    )
    assert push.flush_at == math.inf


def test_a_change_after_a_pending_one_waits_with_it() -> None:
    push = connected()
    push.receive(change(1), 5.0)
    push.receive(change(2), 5.0)

    assert not push.receive(change(3), 9.0), "it would overtake the pending one"
    assert push.take(9.0) == PushMessage({"a1": {"Email": "s3"}}, "c3")


def test_only_the_types_asked_for_are_told() -> None:
    push = connected(types=frozenset({"Email"}))
    both = change(1, Email="e1", Mailbox="m1")

    assert not push.receive(change(2, Mailbox="m2"), 1.0)
    assert push.cursor == "c2", "what was not wanted is known too"
    assert push.receive(both, 1.0)
    assert both.wanted(frozenset({"Email"})) == {"Email": "e1"}
    assert both.wanted(frozenset({"Email"})) is both.wanted(frozenset({"Email"}))


def test_what_was_missed_is_cut_to_the_types_too() -> None:
    push = connected(types=frozenset({"Email"}))

    missed = push.catch_up({"a1": {"Email": "e1", "Mailbox": "m1"}, "a2": {"Mailbox": "m2"}}, "c9")

    assert missed == 1
    assert push.take(0.0) == PushMessage({"a1": {"Email": "e1"}}, "c9")


def test_a_paused_peer_costs_one_state_per_type() -> None:
    push = connected()
    push.pause(0.0)
    for sequence in range(1000):
        assert not push.receive(change(sequence), 1.0)

    assert push.flush_at == math.inf
    assert push.take(1.0) is None
    push.resume()
    assert push.take(1.0) == PushMessage({"a1": {"Email": "s999"}}, "c999")


def test_a_new_connection_waits_until_it_is_resumed() -> None:
    push = PushConnection(PushOptions(), 0.0)

    assert not push.receive(change(1), 0.0)


def test_pings_count_from_the_last_event() -> None:
    push = connected(now=100.0, ping_seconds=30)
    push.receive(change(1), 120.0)

    assert push.wake_at == 150.0
    assert push.wake(149.9) is Due.NOTHING
    assert push.wake(150.0) is Due.PING
    assert push.wake_at == 180.0


def test_no_pings_unless_asked_for() -> None:
    push = connected()

    assert push.wake_at == math.inf
    assert push.wake(1e9) is Due.NOTHING


def test_a_paused_peer_gets_no_ping_and_is_given_up() -> None:
    push = connected(ping_seconds=30, stall_seconds=60.0)
    push.pause(10.0)
    push.pause(20.0)  # the first counts

    assert push.wake_at == 70.0
    assert push.wake(40.0) is Due.NOTHING
    assert push.wake(70.0) is Due.END
    assert push.end_reason is EndReason.STALLED
    assert push.wake(70.0) is Due.END


def test_close_after_state_ends_with_the_first_state_event() -> None:
    push = connected(closes_after_state=True)

    assert push.receive(change(1), 0.0)
    assert push.is_over
    assert push.end_reason is EndReason.STATE_SENT
    assert not push.receive(change(2), 1.0)
    push.catch_up({"a1": {"Email": "s3"}}, "c3")
    assert push.take(1.0) is None
    assert push.cursor == "c1"


def test_close_after_state_ends_with_what_was_missed() -> None:
    push = connected(closes_after_state=True)
    push.catch_up({"a1": {"Email": "s3"}}, "c3")

    assert push.take(0.0) is not None
    assert push.is_over


@pytest.mark.parametrize("ping_seconds", [0, 30])
def test_a_connection_ends_with_its_lifetime(ping_seconds: int) -> None:
    push = connected(ping_seconds=ping_seconds, ends_at=20.0)

    assert push.wake_at == 20.0
    assert push.wake(20.0) is Due.END
    assert push.end_reason is EndReason.LIFETIME


def test_an_account_out_of_sight_is_not_told_any_more() -> None:
    push = connected()
    push.retain({"a1"})
    push.pause(0.0)
    push.receive(change(1, "a1"), 0.0)
    push.receive(change(2, "a2"), 0.0)

    push.retain({"a1"})
    push.resume()

    assert push.take(0.0) == PushMessage({"a1": {"Email": "s1"}}, "c2")


def test_a_message_of_nothing_is_not_sent() -> None:
    push = connected()
    push.catch_up({"a2": {"Email": "s1"}}, "c1")
    push.retain(set())

    assert push.take(0.0) is None


def test_what_is_pending_is_told_before_a_wanted_end() -> None:
    push = connected()
    push.receive(change(1), 5.0)
    push.receive(change(2), 5.0)

    assert push.end(EndReason.DRAINING, 5.0) == PushMessage({"a1": {"Email": "s2"}}, "c2")
    assert push.end(EndReason.CLIENT, 5.0) is None
    assert push.end_reason is EndReason.DRAINING
    assert push.flush_at == math.inf


def test_a_peer_that_takes_nothing_is_told_nothing_at_the_end() -> None:
    push = connected()
    push.pause(4.0)
    push.receive(change(1), 5.0)

    assert push.is_paused
    assert push.end(EndReason.DRAINING, 5.0) is None
    assert push.is_over


def test_asking_for_other_types_forgets_what_is_pending_of_the_others() -> None:
    push = connected()
    push.receive(change(1), 0.0)
    push.receive(change(2, Email="s2", Thread="s2"), 0.0)
    push.receive(change(3, "a2"), 0.0)

    push.ask(PushOptions(types=frozenset({"Thread"})))

    assert push.take(1.0) == PushMessage({"a1": {"Thread": "s2"}}, "c3")
    assert not push.receive(change(4), 2.0)
    assert push.receive(change(5, Thread="s5"), 2.0)


def test_asking_for_more_types_keeps_what_is_pending() -> None:
    push = connected(types=frozenset({"Email"}))
    push.ask(PushOptions(types=frozenset({"Email", "Thread"})))
    push.receive(change(1), 0.0)
    push.receive(change(2), 0.0)

    push.ask(PushOptions())

    assert push.take(1.0) == PushMessage({"a1": {"Email": "s2"}}, "c2")


def test_asking_for_nothing_leaves_nothing_pending() -> None:
    push = connected()
    push.receive(change(1), 0.0)
    push.receive(change(2), 0.0)

    push.ask(PushOptions(types=frozenset()))

    assert push.flush_at == math.inf
