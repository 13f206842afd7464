"""Processes that are killed at random, and writers that go on whatever happens."""

import asyncio
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import httpx

from services.cli.embedded.ports import free_port
from services.cli.run import COULD_NOT_START
from tests.support.dispatcher import USING
from tests.support.eventually import PATIENCE, eventually
from tests.support.processes import Process
from tests.support.servers import Server

TYPES = ("AddressBook", "ContactCard")
CALLS_AT_ONCE = 16  # maxCallsInRequest
_REQUEST_SECONDS = 5.0
_DOWN_SECONDS = (0.1, 1.0)  # from a kill to the next start
_BETWEEN_KILLS_SECONDS = (2.0, 4.0)

View: TypeAlias = dict[tuple[str, str], int]
"""(account, type) -> number of the state."""


@dataclass(frozen=True)
class Place:
    """What a client knew when it was given the cursor."""

    cursor: str
    view: View
    told: View
    by: str  # for whoever looks into a violation


@dataclass
class Record:
    """What happened, and what must not have."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    places: list[tuple[frozenset[str], Place]] = field(default_factory=list)  # and what it may see
    is_calm: bool = False  # the chaos is over

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))


@dataclass(frozen=True)
class Person:
    token: str
    account_id: str
    visible: frozenset[str]


class Fleet:
    """Processes and servers, by names as "gateway 1"; what ends is started again, as by an init."""

    def __init__(
        self,
        environment: dict[str, str],
        processes: Sequence[str],
        servers: Mapping[str, Server],
        record: Record,
    ) -> None:
        self.peak_bytes: Counter[str] = Counter()  # resident, of any process of the name
        self._environment = environment
        self._servers = servers
        self._record = record
        self._ports = {name: free_port() for name in processes}
        self._running: dict[str, Process] = {}
        self._lines: list[str] = []  # of processes that ended
        for name in self._ports:
            self._start(name)

    @property
    def gateway_ports(self) -> list[int]:
        return [port for name, port in self._ports.items() if name.startswith("gateway")]

    @property
    def dispatcher_urls(self) -> list[str]:
        return [f"http://127.0.0.1:{p}" for n, p in self._ports.items() if n.startswith("disp")]

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self._ports.values()]

    def lines_with(self, text: str) -> list[str]:
        """Of the output of all processes that ever were."""
        living = (line for process in self._running.values() for line in process.lines)
        return [line for line in (*self._lines, *living) if text in line]

    def close(self) -> None:
        for process in self._running.values():
            process.close()

    async def supervise(self) -> None:
        """Until cancelled. A process may give up while it starts, and never later."""
        while True:
            await asyncio.sleep(0.2)
            for name, process in list(self._running.items()):
                code = process.exit_code()
                if code is not None:
                    self._record.counts["gave up"] += 1
                    if code != COULD_NOT_START:
                        self._record.violations.append(f"{name} ended with {code}")
                        print(process.output())
                    self._forget(name)
                    self._start(name)

    async def watch(self) -> None:
        """Add up what the gateways count, until cancelled; a kill loses what was not read."""
        last: Counter[tuple[int, str]] = Counter()
        async with httpx.AsyncClient(trust_env=False, timeout=2 * PATIENCE) as http:
            while True:
                for port in self.gateway_ports:
                    try:
                        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
                    except httpx.HTTPError:
                        continue
                    for counter, name, value in _counters(text):
                        before, last[port, counter] = last[port, counter], value
                        self._record.counts[name] += value - before if value >= before else value
                await asyncio.sleep(1)

    async def rage(
        self,
        seconds: float,
        dice: random.Random,
        between: tuple[float, float] = _BETWEEN_KILLS_SECONDS,
    ) -> None:
        """kill -9, one after the other, in random order and each about as often."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        victims: list[str] = []
        while loop.time() < end:
            await asyncio.sleep(dice.uniform(*between))
            if not victims:
                victims = [*self._ports, *self._servers]
                dice.shuffle(victims)
            await self.strike(victims.pop(), dice)

    async def strike(self, name: str, dice: random.Random) -> None:
        """Kill it, and start it again a little later."""
        self._record.counts[f"kills of a {name[:-2]}"] += 1
        if name in self._servers:
            self._servers[name].kill()
            await asyncio.sleep(dice.uniform(*_DOWN_SECONDS))
            await asyncio.to_thread(self._servers[name].start)
        else:
            self._measure(name)
            process = self._running[name]
            self._forget(name)
            process.kill()
            await asyncio.sleep(dice.uniform(*_DOWN_SECONDS))
            self._start(name)

    def measure(self) -> None:
        """Take the peak of memory of each process."""
        for name in self._running:
            self._measure(name)

    def _start(self, name: str) -> None:
        environment = {**self._environment, "TIDINGS_PORT": str(self._ports[name])}
        self._running[name] = Process(name[:-2], environment=environment)

    def _forget(self, name: str) -> None:
        self._lines += self._running.pop(name).lines

    def _measure(self, name: str) -> None:
        status = Path(f"/proc/{self._running[name].pid}/status").read_text(encoding="ascii")
        peak = [int(line.split()[1]) << 10 for line in status.splitlines() if "VmHWM" in line]
        self.peak_bytes[name] = max([self.peak_bytes[name], *peak])


def _counters(metrics: str) -> Iterator[tuple[str, str, int]]:
    """Those of gateways that the test looks at, and what it calls them."""
    for line in metrics.splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("tidings_push_merges_total{"):
            yield name, "changes merged", int(float(value))
        elif name.startswith("tidings_connections_ended_total{") and '"stalled"' in name:
            yield name, "connections ended for a stall", int(float(value))


class NotNowError(Exception):
    """A dispatcher did not do what it was asked, as may be while servers die."""


class Api:
    """JMAP by any dispatcher."""

    def __init__(self, urls: Sequence[str], record: Record, dice: random.Random) -> None:
        limits = httpx.Limits(max_connections=60, max_keepalive_connections=60)
        self.http = httpx.AsyncClient(limits=limits, trust_env=False)
        self._urls = urls
        self._record = record
        self._dice = dice

    async def request(self, token: str, calls: list[Any]) -> list[Any]:
        """The answers of a dispatcher; raises NotNowError."""
        try:
            answer = await self.http.post(
                f"{self._dice.choice(self._urls)}/jmap/api",
                json={"using": USING, "methodCalls": calls},
                headers={"Authorization": f"Bearer {token}"},
                timeout=_REQUEST_SECONDS * PATIENCE,
            )
        except httpx.HTTPError as error:
            raise NotNowError(type(error).__name__) from error
        if answer.status_code != 200:
            if answer.status_code not in (429, 503):
                self._record.violations.append(f"/jmap/api: {answer.status_code} {answer.text}")
            raise NotNowError(answer.text)
        return list(answer.json()["methodResponses"])

    async def states(self, token: str, account_ids: Collection[str]) -> View:
        """What /get says; asked until it says it."""
        view: View = {}
        for calls in get_calls(account_ids):
            while True:
                try:
                    view |= states_of(await self.request(token, calls))
                    break
                except NotNowError:
                    await asyncio.sleep(0.2)
        return view


def get_calls(account_ids: Collection[str]) -> Iterator[list[Any]]:
    """Calls for the state of each type, as many as a request may have."""
    calls = [
        [f"{name}/get", {"accountId": account_id, "ids": []}, name]
        for account_id in account_ids
        for name in TYPES
    ]
    for start in range(0, len(calls), CALLS_AT_ONCE):
        yield calls[start : start + CALLS_AT_ONCE]


def states_of(answers: list[Any]) -> View:
    """Raises NotNowError unless each call was answered."""
    if any(name == "error" for name, _, _ in answers):
        raise NotNowError(str(answers))
    return {(body["accountId"], call_id): number_of(body["state"]) for _, body, call_id in answers}


def number_of(state: str) -> int:
    return int(state.removeprefix("s"))


class Writer:
    """Changes cards and the address book of one account."""

    def __init__(self, person: Person, api: Api, record: Record, dice: random.Random) -> None:
        self._person = person
        self._api = api
        self._record = record
        self._dice = dice
        self._book_id = ""
        self._card_id = ""

    async def prepare(self) -> None:
        """Before the chaos."""
        call = ["AddressBook/get", {"accountId": self._person.account_id}, "0"]
        [[_, books, _]] = await self._api.request(self._person.token, [call])
        self._book_id = books["list"][0]["id"]

    async def run(self, pause_seconds: float) -> None:
        """Until the chaos is over; then one last change."""
        while not self._record.is_calm:
            await asyncio.sleep(self._dice.uniform(0, 2 * pause_seconds))
            await self._write()
        await eventually(self._write, seconds=60)

    async def _write(self) -> bool:
        calls = [self._change_of_card()]
        if self._dice.random() < 0.2 and not self._record.is_calm:
            name = f"book {self._dice.random()}"
            calls.append(self._set("AddressBook", update={self._book_id: {"name": name}}))
        try:
            answers = await self._api.request(self._person.token, calls)
        except NotNowError:
            self._record.counts["writes not answered"] += 1
            return False
        for _, body, _ in answers:
            if not body.get("created") and not body.get("updated"):
                self._record.counts[f"writes refused: {body.get('type', body)}"] += 1
                return False
        for created in (answers[0][1].get("created") or {}).values():
            self._card_id = created["id"]
        self._record.counts["writes"] += len(answers)
        return True

    def _change_of_card(self) -> list[Any]:
        name = {"full": f"A {self._dice.random()}"}
        if self._card_id and self._dice.random() < 0.9:
            return self._set("ContactCard", update={self._card_id: {"name": name}})
        card = {"addressBookIds": {self._book_id: True}, "name": name}
        return self._set("ContactCard", create={"c": card})

    def _set(self, type_name: str, **arguments: Any) -> list[Any]:
        return [f"{type_name}/set", {"accountId": self._person.account_id, **arguments}, "0"]
