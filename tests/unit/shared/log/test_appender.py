"""Two appenders over one stream that loses requests and answers, interleaved at every await."""

import asyncio
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from shared.bus.connection import BusUnavailableError
from shared.bus.jetstream import RawMessage
from shared.bus.publisher import StaleSequenceError
from shared.log.appender import Appender, LogUnavailableError
from shared.log.event import Cause, OrderedState, changed_since, newest
from shared.log.stored import stored_event

Fate = tuple[int, bool, bool]  # turns of the loop before it, request arrives, answer arrives

fates = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([True, True, False]), st.booleans()), max_size=40
)
mutations = st.lists(
    st.tuples(
        st.sampled_from(["a1", "a2"]),
        st.dictionaries(
            st.sampled_from(["Email", "Mailbox"]),
            st.integers(1, 20).map(lambda n: OrderedState(f"s{n}", n)),
            min_size=1,
        ),
        st.integers(0, 1),
    ),
    max_size=12,
)


class UnreliableStream:
    """Publisher and JetStream in one; what it stores it stores under compare-and-set."""

    def __init__(self, fates: Iterator[Fate]) -> None:
        self.fates = fates
        self.messages: dict[str, list[RawMessage]] = {}
        self.sequence = 0

    async def append(
        self, subject: str, body: bytes, *, last_sequence: int, timeout_seconds: float = 5
    ) -> int:
        del timeout_seconds
        turns, arrives, is_answered = next(self.fates, (0, True, True))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not arrives:
            raise BusUnavailableError("lost on its way")
        stored = self.messages.setdefault(subject, [])
        if (stored[-1].sequence if stored else 0) != last_sequence:
            raise StaleSequenceError
        self.sequence += 1
        stored.append(RawMessage(self.sequence, body))
        if not is_answered:
            raise BusUnavailableError("the answer was lost")
        return self.sequence

    async def last_message(self, stream: str, subject: str) -> RawMessage | None:
        del stream
        await asyncio.sleep(0)
        stored = self.messages.get(subject)
        return stored[-1] if stored else None


@given(mutations, fates)
def test_each_account_ends_at_its_newest_states_and_never_goes_back(
    mutations: list[tuple[str, dict[str, OrderedState], int]], fates: list[Fate]
) -> None:
    stream = UnreliableStream(iter(fates))

    async def append_all() -> None:
        appenders = [Appender(stream, stream, is_sound=lambda: True) for _ in range(2)]

        async def append(account_id: str, states: dict[str, OrderedState], which: int) -> None:
            while True:  # as the sweeper does
                try:
                    await appenders[which].append(account_id, states, at="", cause=Cause())
                except LogUnavailableError:
                    continue
                return

        await asyncio.gather(*(append(*mutation) for mutation in mutations))

    asyncio.run(append_all())

    expected: dict[str, dict[str, OrderedState]] = {}
    for account_id, states, _ in mutations:
        expected[account_id] = newest(expected.get(account_id, {}), states)
    for subject, messages in stream.messages.items():
        events = [stored_event(subject, message.sequence, message.body) for message in messages]
        states = expected[subject.rsplit(".", 1)[1]]
        assert changed_since(events[-1], 0) == {name: s.state for name, s in states.items()}
        for name in states:
            told = [s.event.changed[name].order for s in events if name in s.event.changed]
            assert told == sorted(set(told))
    assert len(stream.messages) == len(expected)
