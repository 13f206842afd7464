"""Clients of event sources that come back, and remember all that they were told."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import httpx

from tests.support.dispatcher import JmapClient
from tests.support.wire import EventSourceClient, parse_state

TARGET = "/jmap/eventsource?types=*&closeafter=no&ping=30"
TYPES = ("AddressBook", "ContactCard")
FAILURES = (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, AssertionError)


class WentBackError(Exception):
    """A client was told an older state after a newer one."""


class Viewer:
    """Comes back at any gateway with its cursor."""

    def __init__(self, ports: Sequence[int], client: JmapClient, dice: random.Random) -> None:
        self.view: dict[tuple[str, str], int] = {}  # (account, type) -> number of the state
        self.client = client
        self.connects = 0
        self._ports = ports
        self._dice = dice
        self._cursor = "none"  # is not a cursor of ours, so it gets the full snapshot

    async def run(self) -> None:
        """Until cancelled; raises WentBackError."""
        while True:
            try:
                await self._connect()
            except FAILURES:
                await asyncio.sleep(self._dice.uniform(0.05, 0.3))

    async def _connect(self) -> None:
        stream = await EventSourceClient.get(
            self._dice.choice(self._ports),
            TARGET,
            f"Authorization: Bearer {self.client.token}",
            f"Last-Event-ID: {self._cursor}",
        )
        async with stream:
            assert stream.status == 200
            self.connects += 1
            while chunk := await stream.chunk():
                self._read(chunk)

    def _read(self, chunk: bytes) -> None:
        if not chunk.startswith(b"event: state"):
            return
        self._cursor, changed = parse_state(chunk)
        for account_id, states in changed.items():
            for type_name, state in states.items():
                number = int(state.removeprefix("s"))
                key = (account_id, type_name)
                if number < self.view.get(key, 0):
                    raise WentBackError(key, self.view[key], number)
                self.view[key] = number

    async def truth(self) -> dict[tuple[str, str], int]:
        """What /get says now."""
        account_id = self.client.account_id
        calls = [[f"{t}/get", {"accountId": account_id, "ids": []}, t] for t in TYPES]
        answers = (await self.client.request(*calls))["methodResponses"]
        return {
            (account_id, type_name): int(answer["state"].removeprefix("s"))
            for _, answer, type_name in answers
        }


class Writer:
    """Changes an account again and again, whatever happens to the servers."""

    def __init__(self, client: JmapClient, urls: Sequence[str], dice: random.Random) -> None:
        self.writes = 0
        self._client = client
        self._urls = urls
        self._dice = dice

    async def run(self, *, pause_seconds: float) -> None:
        book = {"accountId": self._client.account_id, "create": {"b": {"name": "more"}}}
        card: dict[str, Any] = {"name": {"full": "A"}}
        while True:
            await asyncio.sleep(self._dice.uniform(0, 2 * pause_seconds))
            url = self._dice.choice(self._urls)
            calls = [["AddressBook/set", book, "0"]]
            if self._dice.random() < 0.7:
                card = {"addressBookIds": {"#b": True}, "name": {"full": str(self.writes)}}
                create = {"accountId": self._client.account_id, "create": {"c": card}}
                calls.append(["ContactCard/set", create, "1"])
            body = {"using": list(self._client.using), "methodCalls": calls, "createdIds": {}}
            try:
                answer = await self._client.http.post(f"{url}/jmap/api", json=body, timeout=5)
                self.writes += answer.status_code == 200
            except httpx.HTTPError:
                pass
