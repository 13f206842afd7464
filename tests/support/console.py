"""A client of the console, as a script or as a page uses it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

OWN_HEADER = {"Tidings-Console": "1"}


class ConsoleClient:
    """With a cookie once it has logged in; a `token` is sent as a script does."""

    def __init__(self, url: str, token: str | None = None, address: str = "192.0.2.1") -> None:
        headers = {"X-Forwarded-For": f"junk, {address}"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self.http = httpx.AsyncClient(
            base_url=f"{url}/console/api", headers=headers, timeout=30, trust_env=False
        )

    async def log_in(self, token: str) -> httpx.Response:
        return await self.http.post("/session", json={"token": token})

    async def get(self, path: str, **query: Any) -> Any:
        """The answer, which is 200."""
        response = await self.http.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: object | None = None) -> httpx.Response:
        return await self.http.post(path, json=body, headers=OWN_HEADER)


@asynccontextmanager
async def streaming(
    client: ConsoleClient, *, last_event_id: str | None = None, **query: Any
) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """Kind and data of what comes."""
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with client.http.stream(
        "GET", "/events/stream", params=query, headers=headers
    ) as response:
        assert response.status_code == 200, await response.aread()
        yield _messages(response)


async def _messages(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    kind = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))
