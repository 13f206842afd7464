"""Requests of WebSockets at a dispatcher that has too much to do, or gets them too late."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from services.dispatcher.bus_requests import REQUESTS_AT_ONCE, REQUESTS_WAITING_MAX, BusRequests
from services.dispatcher.requests import Answered, Requests
from shared.bus.connection import Bus, open_bus
from shared.http.forwarded import (
    FORWARD_SECONDS_MAX,
    FORWARD_SUBJECT,
    ForwardedAnswer,
    ForwardedRequest,
    decode_forwarded_answer,
    encode_forwarded,
)
from shared.jmap.session import CoreLimits
from shared.runtime.clock import SystemClock
from shared.runtime.metrics import Metrics
from shared.runtime.traces import Traces
from tests.support.eventually import eventually
from tests.support.gateway import credential_of
from tests.support.servers import NatsServer
from tests.support.stress import running

pytestmark = pytest.mark.integration


class _MovedClock(SystemClock):
    seconds = 0.0  # ahead of the machine's

    def monotonic(self) -> float:
        return super().monotonic() + self.seconds


class _Held(Requests):
    """Begins each request, and answers when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_answer = asyncio.Event()

    async def answer(self, *_: object, **__: object) -> Answered:
        self.begun += 1
        await self.may_answer.wait()
        return Answered(b"{}", ())


class _Dispatcher(msgspec.Struct):
    bus: Bus
    requests: BusRequests
    held: _Held
    clock: _MovedClock

    async def ask(self, expires_at: datetime | None = None) -> ForwardedAnswer:
        request = ForwardedRequest(
            credential=credential_of("anna"),
            body=msgspec.Raw(b"{}"),
            expires_at=None if expires_at is None else expires_at.timestamp(),
        )
        answer = await self.bus.request(
            FORWARD_SUBJECT, encode_forwarded(request), timeout_seconds=20
        )
        return decode_forwarded_answer(answer)


@pytest.fixture
async def dispatcher(fresh_nats: NatsServer) -> AsyncIterator[_Dispatcher]:
    async with open_bus(fresh_nats.url, name="test") as bus:
        held, clock = _Held(), _MovedClock()
        requests = BusRequests(
            bus, held, CoreLimits(), clock=clock, metrics=Metrics(), traces=Traces()
        )
        draining = asyncio.Event()
        async with running(requests.run(draining)):
            await eventually(lambda: bus.client._subs)
            await bus.client.flush()
            yield _Dispatcher(bus, requests, held, clock)


async def test_what_is_more_than_may_wait_is_refused_at_once_and_the_others_are_answered(
    dispatcher: _Dispatcher,
) -> None:
    in_hand = REQUESTS_AT_ONCE + REQUESTS_WAITING_MAX
    async with asyncio.TaskGroup() as tasks:
        first = [tasks.create_task(dispatcher.ask()) for _ in range(REQUESTS_AT_ONCE)]
        await eventually(lambda: dispatcher.held.begun == REQUESTS_AT_ONCE)
        later = [tasks.create_task(dispatcher.ask()) for _ in range(REQUESTS_WAITING_MAX + 10)]
        await eventually(lambda: sum(task.done() for task in later) == 10)
        assert dispatcher.held.begun == REQUESTS_AT_ONCE
        dispatcher.held.may_answer.set()

    statuses = Counter(task.result().status for task in (*first, *later))
    assert statuses == {200: in_hand, 503: 10}
    assert dispatcher.held.begun == in_hand


async def test_what_waited_until_its_gateway_gave_it_up_is_not_begun(
    dispatcher: _Dispatcher,
) -> None:
    """The client was told that there was no answer, and may have asked again."""
    async with asyncio.TaskGroup() as tasks:
        first = [tasks.create_task(dispatcher.ask()) for _ in range(REQUESTS_AT_ONCE)]
        await eventually(lambda: dispatcher.held.begun == REQUESTS_AT_ONCE)
        waiting = [tasks.create_task(dispatcher.ask()) for _ in range(3)]
        await eventually(lambda: dispatcher.requests.waiting == len(waiting))
        dispatcher.clock.seconds = FORWARD_SECONDS_MAX + 1
        dispatcher.held.may_answer.set()

    assert {task.result().status for task in first} == {200}
    assert {task.result().status for task in waiting} == {503}
    assert dispatcher.held.begun == REQUESTS_AT_ONCE


async def test_what_came_after_its_end_is_not_begun(dispatcher: _Dispatcher) -> None:
    """As when the dispatcher stood still; what an older gateway forwards has no end, and begins."""
    dispatcher.held.may_answer.set()
    now = datetime.now(UTC)

    assert (await dispatcher.ask(expires_at=now - timedelta(seconds=1))).status == 503
    assert dispatcher.held.begun == 0
    assert (await dispatcher.ask(expires_at=now + timedelta(seconds=60))).status == 200
    assert (await dispatcher.ask()).status == 200
