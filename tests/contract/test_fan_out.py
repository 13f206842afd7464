"""What the gateway stands on: one suite over the fan-out in memory and the real one."""

from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.memory_fan_out import MemoryFanOut
from tests.support.real_fan_out import real_log
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration


class Subject:
    def __init__(self, fan_out: Any, append: Any) -> None:
        self.fan_out = fan_out
        self._append = append

    async def append(self, account_id: str, **states: str) -> None:
        pending = self._append(account_id, **states)
        if hasattr(pending, "__await__"):
            await pending


class Recorder:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, str]]] = []
        self.cursor = ""
        self.has_joined = False

    def receive(self, update: Any) -> None:
        assert self.has_joined, "told before join has returned"
        self.heard.append((update.account_id, dict(update.changed)))
        self.cursor = update.cursor

    def resynchronise(self) -> None:
        raise AssertionError("nothing was lost")

    async def join(self, fan_out: Any, accounts: Collection[str], cursor: str | None) -> Any:
        joined = await fan_out.join(self, accounts, cursor)
        self.has_joined = True
        self.cursor = joined.cursor
        return joined


@pytest.fixture(params=["memory", "real"])
def servers(request: pytest.FixtureRequest) -> tuple[str, str] | None:
    """URLs of NATS and PostgreSQL, for the real one."""
    if request.param == "memory":
        return None
    nats: NatsServer = request.getfixturevalue("fresh_nats")
    return nats.url, request.getfixturevalue("postgres_dsn")


@pytest.fixture
async def subject(servers: tuple[str, str] | None) -> AsyncIterator[Subject]:
    if servers is None:
        fan_out = MemoryFanOut()
        yield Subject(fan_out, fan_out.append)
        return
    async with real_log(*servers) as log:
        yield Subject(log.fan_out, log.append_and_pass_on)


async def test_without_a_cursor_only_what_comes_is_told(subject: Subject) -> None:
    await subject.append("a1", Email="s1")
    recorder = Recorder()

    joined = await recorder.join(subject.fan_out, ["a1"], None)
    await subject.append("a1", Email="s2")
    await subject.append("a2", Email="s3")

    assert (joined.changed, joined.outcome) == ({}, "fresh")
    await eventually(lambda: recorder.heard == [("a1", {"Email": "s2"})])


async def test_a_cursor_gets_what_it_missed_merged(subject: Subject) -> None:
    first = Recorder()
    await first.join(subject.fan_out, ["a1", "a2"], None)
    await subject.append("a1", Email="s1")
    await eventually(lambda: len(first.heard) == 1)
    subject.fan_out.leave(first)
    await subject.append("a1", Email="s2", Thread="s2")
    await subject.append("a1", Email="s3")
    await subject.append("a2", Email="s4")
    await subject.append("a3", Email="s5")

    second = Recorder()
    joined = await second.join(subject.fan_out, ["a1", "a2"], first.cursor)

    assert joined.outcome == "resumed"
    assert joined.changed == {"a1": {"Email": "s3", "Thread": "s2"}, "a2": {"Email": "s4"}}
    assert len(first.heard) == 1, "who left is told nothing"


async def test_a_cursor_that_missed_nothing_gets_nothing(subject: Subject) -> None:
    await subject.append("a1", Email="s1")
    first, second = Recorder(), Recorder()
    await first.join(subject.fan_out, ["a1"], None)

    joined = await second.join(subject.fan_out, ["a1"], first.cursor)

    assert (joined.changed, joined.outcome) == ({}, "resumed")


@pytest.mark.parametrize("cursor", ["garbage", "", "1.nosuchepoch.5", "x" * 300])
async def test_what_is_no_cursor_gets_all_there_is(subject: Subject, cursor: str) -> None:
    await subject.append("a1", Email="s1")
    await subject.append("a2", Email="s2")

    joined = await Recorder().join(subject.fan_out, ["a1", "a2", "nosuch"], cursor)

    assert joined.outcome == "reset"
    assert joined.changed == {"a1": {"Email": "s1"}, "a2": {"Email": "s2"}}


async def test_a_cursor_goes_on_across_accounts(subject: Subject) -> None:
    """The cursor of one account's event stands for all accounts."""
    first = Recorder()
    await first.join(subject.fan_out, ["a1"], None)
    await subject.append("a2", Email="s1")
    await subject.append("a1", Email="s2")
    await eventually(lambda: len(first.heard) == 1)

    joined = await Recorder().join(subject.fan_out, ["a1", "a2"], first.cursor)

    assert joined.changed == {}


async def test_leaving_some_accounts_keeps_the_others(subject: Subject) -> None:
    recorder = Recorder()
    await recorder.join(subject.fan_out, ["a1", "a2"], None)
    subject.fan_out.leave(recorder, ["a1"])

    await subject.append("a1", Email="s1")
    await subject.append("a2", Email="s2")

    await eventually(lambda: recorder.heard == [("a2", {"Email": "s2"})])
    subject.fan_out.leave(recorder)
    subject.fan_out.leave(recorder)


async def test_joining_again_adds_accounts(subject: Subject) -> None:
    recorder = Recorder()
    await recorder.join(subject.fan_out, ["a1"], None)
    await recorder.join(subject.fan_out, ["a2"], None)

    await subject.append("a1", Email="s1")
    await subject.append("a2", Email="s2")

    expected = [("a1", {"Email": "s1"}), ("a2", {"Email": "s2"})]
    await eventually(lambda: recorder.heard == expected)
