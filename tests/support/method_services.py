"""Method services for tests: one keeps shelves in memory, one says whatever it is told to."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from nats.aio.msg import Msg

from shared.bus.connection import Bus, open_bus
from shared.jmap.i_json import encode_json
from shared.method_service.author import (
    MethodCall,
    MethodFailedError,
    MethodReply,
    method_service,
)
from shared.method_service.contract import ServiceDescription, metadata_of, subject_of
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually

SHELVES = "urn:example:shelves"
SHELF_SERVICE = ServiceDescription(
    capability=SHELVES,
    version="1.0.0",
    session={"maxShelves": 10},
    account={"mayAdd": True},
    types={"Shelf": ("get", "set", "wait")},
)


@dataclass
class Shelves:
    """Keeps names; several instances may share one, as they would share a database."""

    orders: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    names: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    cards: dict[str, str] = field(default_factory=dict)  # shelf -> card
    calls: list[MethodCall] = field(default_factory=list)
    cancelled: int = 0
    waiting: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def handlers(self) -> dict[str, Callable[[MethodCall], Awaitable[MethodReply]]]:
        return {"Shelf/get": self.get, "Shelf/set": self.set, "Shelf/wait": self.wait}

    async def get(self, call: MethodCall) -> MethodReply:
        self.calls.append(call)
        account = call.account()
        wanted: Any = call.arguments.get("ids")
        found = self.names[account]
        ids = list(found) if wanted is None else [call.record_id(item) for item in wanted]
        return MethodReply(
            arguments={
                "accountId": account,
                "state": f"v{self.orders[account]}",
                "list": [
                    {"id": item, "name": found[item], "cardId": self.cards.get(item)}
                    for item in ids
                    if item in found
                ],
                "notFound": [item for item in ids if item not in found],
            }
        )

    async def set(self, call: MethodCall) -> MethodReply:
        self.calls.append(call)
        account = call.account(to_write=True)
        if call.arguments.get("slow"):
            await self.go_on.wait()
        creates: Any = call.arguments.get("create") or {}
        old = self.orders[account]
        created: dict[str, str] = {}
        for key, given in creates.items():
            self.orders[account] += 1
            shelf_id = f"shelf{account[-4:]}{self.orders[account]}"
            self.names[account][shelf_id] = given["name"]
            if "cardId" in given:
                self.cards[shelf_id] = call.record_id(given["cardId"])
            created[key] = shelf_id
        new = self.orders[account]
        return MethodReply(
            arguments={
                "accountId": account,
                "oldState": f"v{old}",
                "newState": f"v{new}",
                "created": {key: {"id": shelf_id} for key, shelf_id in created.items()},
            },
            created_ids=created,
            changed={account: {"Shelf": (f"v{new}", new)}} if new > old else {},
        )

    async def wait(self, call: MethodCall) -> MethodReply:
        self.waiting += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting -= 1
        if call.arguments.get("fails"):
            raise MethodFailedError("tooManyShelves", "There is no room.")
        return MethodReply(arguments={"waited": True})


@asynccontextmanager
async def shelves_running(
    nats_url: str, shelves: Shelves, description: ServiceDescription = SHELF_SERVICE
) -> AsyncIterator[Bus]:
    """An instance, on a connection of its own."""
    async with (
        open_bus(nats_url, name="shelves") as bus,
        method_service(bus, description, shelves.handlers()),
    ):
        yield bus


Respond = Callable[[Msg], Awaitable[None]]


@asynccontextmanager
async def raw_service_running(
    nats_url: str, info: dict[str, Any], methods: dict[str, Respond]
) -> AsyncIterator[Bus]:
    """Says `info` of itself and answers as it likes, without any library."""
    async with open_bus(nats_url, name="raw") as bus:

        async def tell(message: Msg) -> None:
            await message.respond(encode_json(info))

        await bus.client.subscribe("$SRV.INFO", cb=tell)
        for method, respond in methods.items():
            await bus.client.subscribe(subject_of(method), queue="q", cb=respond)
        yield bus


def info_of(description: ServiceDescription, **other: Any) -> dict[str, Any]:
    return {
        "type": "io.nats.micro.v1.info_response",
        "name": description.name,
        "id": f"raw-{description.capability}",
        "version": description.version,
        "metadata": metadata_of(description),
        "endpoints": [],
        **other,
    }


async def session_of(client: JmapClient) -> dict[str, Any]:
    response = await client.http.get("/jmap/session")
    session: dict[str, Any] = response.json()
    return session


async def appeared(client: JmapClient, capability: str = SHELVES) -> dict[str, Any]:
    """The session that has it; the client uses it from now on."""

    async def there() -> dict[str, Any] | None:
        session = await session_of(client)
        return session if capability in session["capabilities"] else None

    session = await eventually(there, what=f"{capability} did not appear")
    client.using = (*client.using, capability)
    assert isinstance(session, dict)
    return session


async def disappeared(client: JmapClient, capability: str = SHELVES) -> None:
    async def gone() -> bool:
        return capability not in (await session_of(client))["capabilities"]

    await eventually(gone, seconds=10, what=f"{capability} did not disappear")
    client.using = tuple(urn for urn in client.using if urn != capability)
