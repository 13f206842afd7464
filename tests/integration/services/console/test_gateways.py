"""Gateways that hang, or that have too much to do: who looks at the console is told which."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from nats.aio.msg import Msg

from shared.bus.connection import Bus, open_bus
from shared.operate.connections import (
    ASK_SUBJECT,
    HERE_SUBJECT,
    ConnectionFilter,
    Refused,
    encode_answer,
)
from shared.operate.gateways import Gateways
from tests.integration.services.console.conftest import Operated
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def bus(nats_url: str) -> AsyncIterator[Bus]:
    async with open_bus(nats_url, name="gateways") as bus:
        yield bus


@pytest.fixture
async def hanging(bus: Bus, operated: Operated) -> AsyncIterator[str]:
    """The id of a gateway that the others know of, and that answers nothing."""

    async def is_known() -> bool:
        return bool((await operated.script.get("/overview"))["silent"] == ["ghung"])

    async def is_forgotten() -> bool:
        return bool((await operated.script.get("/overview"))["silent"] == [])

    await bus.publish(HERE_SUBJECT, b"ghung")
    await eventually(is_known)
    yield "ghung"
    await bus.publish(HERE_SUBJECT, b"-ghung")
    await eventually(is_forgotten)


@asynccontextmanager
async def _refusing(bus: Bus, *, is_busy: bool) -> AsyncIterator[None]:
    """A gateway that refuses whatever it is asked."""
    [facts] = (await Gateways(bus, by="test").find(ConnectionFilter(), count=0)).gateways
    facts = msgspec.structs.replace(facts, id="gbusy")
    refusal = Refused(gateway=facts, reason="too much is asked at once", is_busy=is_busy)

    async def refuse(message: Msg) -> None:
        await bus.publish(message.reply, encode_answer(refusal))

    async with bus.listening(ASK_SUBJECT, refuse):
        yield


async def test_a_connection_of_a_gateway_that_hangs_is_not_said_to_be_gone(
    operated: Operated, hanging: str
) -> None:
    """It may be open, and what was asked may be done: only its gateway does not say so now."""
    path = f"/connections/{hanging}-1"
    for response in (
        await operated.page.http.get(path),
        await operated.page.post(f"{path}/close"),
        await operated.page.post(f"{path}/resync"),
    ):
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert hanging in response.json()["detail"]
    assert (await operated.page.post("/connections/other-1/close")).status_code == 404


@pytest.mark.parametrize(("is_busy", "status"), [(True, 503), (False, 400)])
async def test_a_gateway_that_has_too_much_to_do_may_be_asked_again(
    operated: Operated, bus: Bus, *, is_busy: bool, status: int
) -> None:
    async def answers() -> Any:
        response = await operated.script.http.get("/connections")
        return response.status_code != 200 and response  # the real one may answer first

    async with _refusing(bus, is_busy=is_busy):
        response = await eventually(answers)
    assert response.status_code == status
    assert ("retry-after" in response.headers) is is_busy
    assert "gbusy: too much is asked at once" in response.json()["detail"]
