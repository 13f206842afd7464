"""A service that is asked more than it can do, over real NATS."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest
from nats.aio.msg import Msg

from shared.bus.connection import Bus, open_bus
from shared.method_service.author import MethodCall, MethodReply, method_service
from shared.method_service.contract import CONTRACT_VERSION, ServiceDescription, subject_of
from tests.support.eventually import eventually
from tests.support.servers import NatsServer

pytestmark = pytest.mark.integration

CALLS_MAX = 2
WAITING_MAX = 256
SLOW = ServiceDescription(
    capability="urn:example:slow",
    version="1.0.0",
    session={},
    account={},
    types={"Slow": ("get",)},
)


class Held:
    """Begins calls, and answers them when it may."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.begun = 0
        self.may_answer = asyncio.Event()

    async def get(self, call: MethodCall) -> MethodReply:
        del call
        self.begun += 1
        await self.may_answer.wait()
        return MethodReply(arguments={})

    async def ask(self, milliseconds: int = 20_000) -> str:
        """200, or the code of the error."""
        call: dict[str, object] = {
            "version": CONTRACT_VERSION,
            "timeout": milliseconds,
            "traceparent": None,
            "method": "Slow/get",
            "arguments": {},
            "callId": "0",
            "using": [],
            "principal": {"id": "u1", "accounts": {}},
            "createdIds": {},
        }
        body = msgspec.json.encode(call)
        answer: Msg = await self.bus.client.request(subject_of("Slow/get"), body, timeout=30)
        return (answer.headers or {}).get("Nats-Service-Error-Code", "200")


@pytest.fixture
async def held(fresh_nats: NatsServer) -> AsyncIterator[Held]:
    async with open_bus(fresh_nats.url, name="slow") as bus:
        held = Held(bus)
        async with method_service(bus, SLOW, {"Slow/get": held.get}, calls_max=CALLS_MAX):
            yield held


async def test_what_is_more_than_may_wait_is_refused_at_once(held: Held) -> None:
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(held.ask()) for _ in range(CALLS_MAX + WAITING_MAX + 10)]
        await eventually(lambda: sum(one.done() for one in asked) == 10)
        assert held.begun == CALLS_MAX
        held.may_answer.set()
    assert Counter(one.result() for one in asked) == {"200": CALLS_MAX + WAITING_MAX, "503": 10}


async def test_what_waited_until_its_time_was_over_is_not_begun(held: Held) -> None:
    async with asyncio.TaskGroup() as tasks:
        first = [tasks.create_task(held.ask()) for _ in range(CALLS_MAX)]
        await eventually(lambda: held.begun == CALLS_MAX)
        late = tasks.create_task(held.ask(milliseconds=50))
        asyncio.get_running_loop().call_later(0.2, held.may_answer.set)
    assert [one.result() for one in (*first, late)] == ["200", "200", "503"]
    assert held.begun == CALLS_MAX
