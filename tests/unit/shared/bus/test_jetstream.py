"""What a stream says of itself."""

from shared.bus.jetstream import Replica, StreamCluster, StreamInfo, StreamState

STATE = StreamState(1, 2)


def test_a_stream_of_one_server_is_held_by_that() -> None:
    assert StreamInfo({}, STATE).replicas_current == 1


def test_servers_that_hold_all_of_it_are_counted_with_the_leader() -> None:
    replicas = [Replica(current=True), Replica(current=True, offline=True), Replica()]
    assert StreamInfo({}, STATE, StreamCluster("n1", replicas)).replicas_current == 2
    assert StreamInfo({}, STATE, StreamCluster("", replicas)).replicas_current == 1
