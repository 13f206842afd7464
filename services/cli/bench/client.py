"""Clients of the kinds that Tidings has: one that calls, and those that listen."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from time import perf_counter  # a loop's own time may be in milliseconds
from typing import Any

import aiohttp

from services.cli.bench.target import Cast, Target
from shared.jmap.session import CORE

TYPE = "ContactCard"
ANSWER_SECONDS = 20.0
FAILURES = (aiohttp.ClientError, TimeoutError, OSError)

_USING = (CORE, "urn:ietf:params:jmap:contacts")
_OPENED_AT_ONCE = 64


def session() -> aiohttp.ClientSession:
    """As many connections as are asked for at once, each for as long as it is wanted."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS),
    )


def authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Caller:
    """Changes one card of the account again and again; raises one of FAILURES."""

    def __init__(self, http: aiohttp.ClientSession, target: Target, cast: Cast) -> None:
        self._http = http
        self._url = f"{target.url}/jmap/api"
        self._headers = authorization(cast.tokens[0])
        self._account_id = cast.account_id
        self._card = ""
        self._count = 0

    async def change(self) -> str:
        """The new state."""
        self._count += 1
        name = {"full": f"Bench {self._count}"}
        if not self._card:
            books = await self.call("AddressBook/get", {"accountId": self._account_id})
            card = {"name": name, "addressBookIds": {books["list"][0]["id"]: True}}
            answer = await self._set({"create": {"k": card}})
            self._card = answer["created"]["k"]["id"]
        else:
            answer = await self._set({"update": {self._card: {"name": name}}})
        return str(answer["newState"])

    async def call(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of its answer."""
        body = {"using": _USING, "methodCalls": [[name, arguments, "0"]]}
        async with asyncio.timeout(ANSWER_SECONDS):
            async with self._http.post(self._url, json=body, headers=self._headers) as response:
                response.raise_for_status()
                answer: dict[str, Any] = (await response.json())["methodResponses"][0][1]
        return answer

    async def _set(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return await self.call(f"{TYPE}/set", {"accountId": self._account_id, **arguments})


class Ears:
    """Notes when each of `count` listeners heard of a state."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heard: dict[str, dict[int, float]] = {}
        self._changed = asyncio.Event()

    def hear(self, number: int, state: str) -> None:
        heard = self._heard.setdefault(state, {})
        heard.setdefault(number, perf_counter())
        if len(heard) == self.count:
            self._changed.set()

    async def times(self, state: str) -> list[float]:
        """`perf_counter` of each listener that heard of it; some may never have, in the end."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while len(self._heard.get(state, {})) < self.count:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        heard = self._heard.get(state, {})
        self._heard.clear()  # what came before is no longer asked for
        return list(heard.values())


class Listeners:
    """Connections that stay open while `tasks` lives: event sources and, if wanted, WebSockets."""

    def __init__(
        self, http: aiohttp.ClientSession, target: Target, cast: Cast, tasks: asyncio.TaskGroup
    ) -> None:
        self._http = http
        self._target = target
        self._cast = cast
        self._tasks = tasks
        self._slots = asyncio.Semaphore(_OPENED_AT_ONCE)
        self._running: list[asyncio.Task[None]] = []
        self.cursors: dict[int, str] = {}
        self.lost = 0

    async def open(
        self, count: int, ears: Ears, *, websockets: bool, resumed: bool = False
    ) -> list[float]:
        """Seconds that each took that could be opened; half of them WebSockets, if wanted."""
        waits = []
        for number in range(count):
            is_websocket = websockets and number % 2 == 1
            listen = self._websocket if is_websocket else self._event_source
            cursor = self.cursors.get(number) if resumed else None
            opened: asyncio.Future[float] = asyncio.get_running_loop().create_future()
            work = self._listen(listen, number, cursor, ears, opened)
            self._running.append(self._tasks.create_task(work))
            waits.append(opened)
        took = await asyncio.gather(*waits)
        return [seconds for seconds in took if seconds >= 0]

    async def close(self) -> None:
        """All of them."""
        running, self._running = self._running, []
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _listen(
        self,
        listen: "Callable[[int, str | None, Ears, Callable[[], None]], Awaitable[None]]",
        number: int,
        cursor: str | None,
        ears: Ears,
        opened: "asyncio.Future[float]",
    ) -> None:
        await self._slots.acquire()
        begun = perf_counter()

        def note(seconds: float) -> None:
            if not opened.done():
                opened.set_result(seconds)
                self._slots.release()

        try:
            await listen(number, cursor, ears, lambda: note(perf_counter() - begun))
            self.lost += 1  # nobody closed it here
        except FAILURES:
            self.lost += 1
        finally:
            note(-1)

    async def _event_source(
        self, number: int, cursor: str | None, ears: Ears, opened: Callable[[], None]
    ) -> None:
        url = f"{self._target.url}/jmap/eventsource?types={TYPE}&closeafter=no&ping=300"
        headers = authorization(self._cast.token(number))
        if cursor is not None:
            headers["Last-Event-ID"] = cursor
        async with self._http.get(url, headers=headers) as response:
            response.raise_for_status()
            opened()
            async for line in response.content:
                if line.startswith(b"id:"):
                    self.cursors[number] = line[3:].strip().decode()
                elif line.startswith(b"data:"):
                    self._tell(number, line[5:], ears)

    async def _websocket(
        self, number: int, cursor: str | None, ears: Ears, opened: Callable[[], None]
    ) -> None:
        del cursor
        headers = authorization(self._cast.token(number))
        url = f"{self._target.url}/jmap/ws"
        async with self._http.ws_connect(url, protocols=("jmap",), headers=headers) as socket:
            await socket.send_json({"@type": "WebSocketPushEnable", "dataTypes": [TYPE]})
            # Whatever is answered after it, the enabling was taken.
            await socket.send_json(
                {"@type": "Request", "using": [CORE], "methodCalls": [["Core/echo", {}, "0"]]}
            )
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    if '"methodResponses"' in message.data:
                        opened()
                    self._tell(number, message.data, ears)

    def _tell(self, number: int, text: bytes | str, ears: Ears) -> None:
        message = json.loads(text)
        if message.get("@type") == "StateChange":
            state = message["changed"].get(self._cast.account_id, {}).get(TYPE)
            if state is not None:
                ears.hear(number, state)
