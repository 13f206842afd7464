import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from services.gateway.frames import (
    LAST_CHUNK,
    MESSAGE_BYTES_MAX,
    chunk,
    ping_event,
    push_messages,
    retry_line,
    state_events,
    text_frame,
)
from services.gateway.push_connection import PushMessage

SMALL = PushMessage({"a1": {"Email": "s1"}}, "1.abc.7")
LARGE = PushMessage(
    {f"account{n}": {f"Type{m}": "x" * 40 for m in range(20)} for n in range(200)}, "1.abc.7"
)


def test_a_state_event_has_event_id_and_one_line_of_data_in_this_order() -> None:
    (event,) = state_events(SMALL)

    assert event == (
        b"event: state\nid: 1.abc.7\n"
        b'data: {"@type":"StateChange","changed":{"a1":{"Email":"s1"}}}\n\n'
    )


def test_a_ping_has_no_id() -> None:
    assert ping_event(30) == b'event: ping\ndata: {"interval":30}\n\n'


def test_a_retry_line_has_no_blank_line() -> None:
    assert retry_line(1234) == b"retry: 1234\n"


def test_a_chunk_has_its_length_in_hexadecimal() -> None:
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert LAST_CHUNK == b"0\r\n\r\n"


def test_a_long_change_is_split_and_only_the_last_part_has_the_id() -> None:
    *heads, last = state_events(LARGE)

    assert heads
    assert all(b"\nid: " not in head for head in heads)
    assert b"\nid: 1.abc.7\n" in last
    assert all(len(part) < 65536 for part in [*heads, last])
    assert _together(json.loads(p.split(b"data: ")[1]) for p in [*heads, last]) == LARGE.changed


def test_a_long_change_is_split_and_only_the_last_part_has_the_push_state() -> None:
    bodies = [json.loads(body) for body in _read(push_messages(LARGE))]

    assert len(bodies) > 1
    assert [body.get("pushState") for body in bodies] == [None] * (len(bodies) - 1) + ["1.abc.7"]
    assert _together(bodies) == LARGE.changed


def test_one_state_that_is_longer_than_a_message_goes_alone() -> None:
    long = PushMessage({"a1": {"A": "x" * MESSAGE_BYTES_MAX, "B": "s"}}, "c")

    assert len(list(state_events(long))) == 2


def test_a_push_message_has_the_push_state() -> None:
    (body,) = _read(push_messages(SMALL))

    assert body == (
        b'{"@type":"StateChange","changed":{"a1":{"Email":"s1"}},"pushState":"1.abc.7"}'
    )


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 100_000])
def test_a_frame_is_what_a_client_reads(length: int) -> None:
    assert _read([text_frame(b"x" * length)]) == [b"x" * length]


@given(st.text(max_size=300))
def test_data_is_always_one_line(token: str) -> None:
    (event,) = state_events(PushMessage({"a1": {"Email": token}}, "c"))

    assert event.count(b"\n") == 4
    assert b"\r" not in event


def _read(frames: object) -> list[bytes]:
    client = Protocol(CLIENT, state=OPEN, max_size=None)
    for frame in frames:  # type: ignore[attr-defined]
        client.receive_data(frame)
    received = client.events_received()
    assert all(frame.opcode is Opcode.TEXT and frame.fin for frame in received)  # type: ignore[union-attr]
    return [bytes(frame.data) for frame in received]  # type: ignore[union-attr]


def _together(bodies: object) -> dict[str, dict[str, str]]:
    changed: dict[str, dict[str, str]] = {}
    for body in bodies:  # type: ignore[attr-defined]
        assert body["@type"] == "StateChange"
        for account_id, states in body["changed"].items():
            changed.setdefault(account_id, {}).update(states)
    return changed
