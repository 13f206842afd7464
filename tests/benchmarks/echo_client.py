"""Asks for an echo in four ways, in turn: `… echo_client URL NATS_URL TOKEN`.

Prints the median of each way in each round, in seconds.

A process of its own: the loop of the tests has asyncio's debug mode on, which would make the bare
round trip look dear.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import aiohttp
import uvloop

from shared.bus.connection import Bus, open_bus
from shared.jmap.session import CORE
from tests.benchmarks.echo_service import (
    BARE_SUBJECT,
    CAPABILITY,
    METHOD,
    PLAIN_CAPABILITY,
    PLAIN_METHOD,
)
from tests.support.eventually import eventually

ROUNDS = 20
WARM_UP_ROUNDS = 2
ONE_ROUND = 100
ARGUMENTS = {"text": "hello", "numbers": [1, 2, 3]}
BODY = json.dumps(ARGUMENTS).encode()


class Client:
    """One connection to the API, one to NATS."""

    def __init__(self, http: aiohttp.ClientSession, url: str, bus: Bus) -> None:
        self._http = http
        self._url = url
        self._bus = bus

    async def local(self) -> None:
        await self._call("Core/echo")

    async def plain(self) -> None:
        await self._call(PLAIN_METHOD)

    async def library(self) -> None:
        await self._call(METHOD)

    async def bare(self) -> None:
        assert await self._bus.request(BARE_SUBJECT, BODY, timeout_seconds=5) == BODY

    async def is_there(self) -> bool:
        return "methodResponses" in await self._post(METHOD)

    async def _call(self, method: str) -> None:
        assert (await self._post(method))["methodResponses"] == [[method, ARGUMENTS, "0"]]

    async def _post(self, method: str) -> Any:
        body = {
            "using": [CORE, CAPABILITY, PLAIN_CAPABILITY],
            "methodCalls": [[method, ARGUMENTS, "0"]],
        }
        async with self._http.post(f"{self._url}/jmap/api", json=body) as response:
            return await response.json()


async def main(url: str, nats_url: str, token: str) -> None:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http,
        open_bus(nats_url, name="bare") as bus,
    ):
        client = Client(http, url, bus)
        await eventually(client.is_there)
        ways = {
            "local": client.local,
            "plain": client.plain,
            "library": client.library,
            "bare": client.bare,
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(WARM_UP_ROUNDS + ROUNDS):
            for name, ask in ways.items():
                found = median([await timed(ask) for _ in range(ONE_ROUND)])
                if number >= WARM_UP_ROUNDS:
                    seconds[name].append(found)
    print(json.dumps(seconds))


async def timed(ask: Callable[[], Awaitable[None]]) -> float:
    begun = time.perf_counter()
    await ask()
    return time.perf_counter() - begun


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:4]))
