"""A page in headless Chromium, with the browser's own EventSource and WebSocket, by ticket."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from services.cli.embedded.ports import free_port
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.servers import NatsServer

pytestmark = [pytest.mark.end_to_end, pytest.mark.long]

PAGE = Path(__file__).with_name("page.html")
VIA = ("EventSource", "WebSocket")


class Reports:
    """What the page said it saw."""

    def __init__(self) -> None:
        self.opened: Counter[str] = Counter()
        self.states: dict[str, dict[str, str]] = {via: {} for via in VIA}  # account -> state

    async def take(self, request: Request) -> Response:
        report: dict[str, Any] = await request.json()
        if "open" in report:
            self.opened[report["via"]] += 1
        for account_id, states in report.get("changed", {}).items():
            self.states[report["via"]][account_id] = states["ContactCard"]
        return Response()

    def all_have(self, account_id: str, state: str) -> bool:
        return all(self.states[via].get(account_id) == state for via in VIA)


async def page(_: Request) -> Response:
    return FileResponse(PAGE)


@contextmanager
def chromium(url: str, folder: Path) -> Iterator[None]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    assert program is not None, "this test needs Chromium"
    browser = subprocess.Popen(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-proxy-server",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            url,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        browser.terminate()
        browser.wait(20)


async def test_a_page_sees_changes_and_resumes_after_the_gateway_was_restarted(
    fresh_nats: NatsServer, postgres_dsn: str, tmp_path: Path
) -> None:
    reports, port = Reports(), free_port()
    routes = [Route("/page", page), Route("/report", reports.take, methods=["POST"])]

    def gateway() -> AbstractAsyncContextManager[RunningEverything]:
        return everything_running(fresh_nats.url, postgres_dsn, port=port, more_routes=routes)

    async def change(client: JmapClient) -> str:
        await client.add_card(name={"full": "changed"})
        return str((await client.call("ContactCard/get", ids=[]))["state"])

    with ExitStack() as browser:
        async with gateway() as running:
            client, _ = await running.user("anna")
            url = f"{running.url}/page#token={client.token}"
            browser.enter_context(chromium(url, tmp_path))
            joined = running.everything.gateway.connections.joined
            await eventually(lambda: sum(joined.values()) == len(VIA), seconds=60)
            state = await change(client)
            await eventually(lambda: reports.all_have(client.account_id, state), seconds=20)
        opened = reports.opened.copy()
        async with gateway() as running:
            again = JmapClient(running.url, client.token, client.account_id)
            async with again.http:
                state = await change(again)
            await eventually(lambda: reports.all_have(client.account_id, state), seconds=60)
            await eventually(lambda: all(reports.opened[via] > opened[via] for via in VIA))
