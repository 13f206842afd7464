"""A page of another origin, with the browser's own EventSource and WebSocket, by ticket."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Page

from services.cli.embedded.ports import free_port
from tests.support.browser import page_opened, page_served
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.processes import Process, Up

pytestmark = [pytest.mark.end_to_end, pytest.mark.browser]

TRANSPORTS = ("eventSource", "webSocket")
CLOSED = 2  # EventSource.readyState

# What a browser says of a gateway that is away or about to be, and of a ticket used before.
EXPECTED_COMPLAINTS = re.compile(
    r"net::ERR_(CONNECTION_|INCOMPLETE|EMPTY)|status of (401|503)|WebSocket"
)


class GatewayAlone:
    """On one port, however often it is started again."""

    def __init__(self, stack: ExitStack, up: Up) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._stack = stack
        self._environment = up.environment | {
            "TIDINGS_PORT": str(self.port),
            "TIDINGS_GATEWAY_DRAIN_SECONDS": "0.5",
        }
        self.process = self.started()

    def started(self) -> Process:
        self.process = Process("gateway", environment=self._environment)
        self._stack.callback(self.process.close)
        return self.process

    async def is_ready(self) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                return (await http.get(f"{self.url}/health/ready")).status_code == 200
        except httpx.HTTPError:
            return False

    async def has_resumed(self) -> bool:
        """This process let each transport go on where it was."""
        async with httpx.AsyncClient(trust_env=False) as http:
            metrics = (await http.get(f"{self.url}/metrics")).text
        joins = dict(re.findall(r'joins_total{outcome="(\w+)"} (\S+)', metrics))
        assert "reset" not in joins
        return float(joins.get("resumed", 0)) >= len(TRANSPORTS)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


async def card_states(page: Page, transport: str, account_id: str) -> list[str]:
    """Of its cards, as the page was told them one after the other."""
    told: list[dict[str, Any]] = await page.evaluate(f"seen.{transport}")
    changes = [changed.get(account_id, {}) for changed in told]
    return [states["ContactCard"] for states in changes if "ContactCard" in states]


async def add_card(client: JmapClient) -> str:
    await client.add_card(name={"full": "A"})
    return str((await client.call("ContactCard/get", ids=[]))["state"])


async def both_are_told(page: Page, client: JmapClient, state: str) -> None:
    for transport in TRANSPORTS:

        async def is_told(transport: str = transport) -> bool:
            return state in (await card_states(page, transport, client.account_id))[-1:]

        await eventually(is_told, seconds=30, what=f"{transport} was not told {state}")


async def test_a_page_sees_changes_and_resumes_by_itself(stack: ExitStack, tmp_path: Path) -> None:
    up = Up(tmp_path / "data")
    stack.callback(up.close)
    who = up.command("user", "add", "ada") | up.command("token", "issue", "ada")
    gateway = GatewayAlone(stack, up)
    await eventually(gateway.is_ready, seconds=30)
    client = JmapClient(up.url, who["token"], who["account"])
    url = stack.enter_context(page_served())
    async with client.http, page_opened(url) as (page, complaints):
        assert (await page.evaluate("refusal", gateway.url))[0] == 401
        await page.evaluate(
            "([gateway, token]) => start(gateway, token)", [gateway.url, client.token]
        )
        await both_are_told(page, client, await add_card(client))
        assert [text for text in complaints if "status of 401" not in text] == []

        gateway.process.kill()
        missed = await add_card(client)
        gateway.started()
        await both_are_told(page, client, missed)
        await both_are_told(page, client, await add_card(client))
        await eventually(gateway.has_resumed, what="not counted as resumed")

        assert gateway.process.terminate() == 0
        missed = await add_card(client)
        gateway.started()
        await both_are_told(page, client, missed)
        await the_rest_is_right(page, client, gateway.url)
    assert [text for text in complaints if not EXPECTED_COMPLAINTS.search(text)] == []
    assert up.terminate() == 0


async def the_rest_is_right(page: Page, client: JmapClient, url: str) -> None:
    for transport in TRANSPORTS:
        states = await card_states(page, transport, client.account_id)
        numbers = [int(state.removeprefix("s")) for state in states]
        assert numbers == sorted(numbers), transport
    answers = await page.evaluate("seen.answers")
    assert {answer["@type"] for answer in answers} == {"Response"}
    assert answers[0]["methodResponses"] == [["Core/echo", {"text": "ä€😀"}, "c"]]
    # Who relies on the browser's own retry alone shows its ticket again, and is sent away for good.
    await eventually(lambda: page.evaluate(f"seen.careless.readyState == {CLOSED}"), seconds=30)
    text = await page.evaluate(
        "([gateway, token]) => readWithHeaders(gateway, token)", [url, client.token]
    )
    assert text.startswith("event: state\n")
