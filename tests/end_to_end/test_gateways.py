"""Gateways as processes of their own, restarted one after the other."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.cli.embedded.ports import free_port
from shared.store.credentials import issue_token
from shared.store.people import add_user
from shared.store.pool import open_pool
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.processes import Process, Up
from tests.support.viewers import Viewer, Writer

pytestmark = pytest.mark.end_to_end

GATEWAYS = 2


class Service(Process):
    """A dispatcher or a gateway on the servers of a running `tidings up`; may be started again."""

    def __init__(self, kind: str, up: Up, port: int, **settings: str) -> None:
        environment = {**up.environment, "TIDINGS_PORT": str(port), **settings}
        super().__init__(kind, environment=environment)


@dataclass
class Fleet:
    up: Up
    gateways: list[Service]
    dispatcher: Service
    gateway_ports: list[int]
    dispatcher_port: int
    viewers: list[Viewer]
    writers: list[Writer]

    def start_gateway(self, number: int) -> None:
        self.gateways[number] = Service(
            "gateway",
            self.up,
            self.gateway_ports[number],
            TIDINGS_GATEWAY_DRAIN_SECONDS="1",
            TIDINGS_GATEWAY_CONNECTIONS_PER_USER_MAX="1000",
        )

    def start_dispatcher(self) -> None:
        self.dispatcher = Service("dispatcher", self.up, self.dispatcher_port)

    def close(self) -> None:
        for service in [*self.gateways, self.dispatcher]:
            service.close()
        self.up.close()

    async def converge(self) -> None:
        """Each view becomes what /get says."""
        for viewer in self.viewers:
            await eventually(lambda v=viewer: _agrees(v), seconds=30)  # type: ignore[misc]


async def _agrees(viewer: Viewer) -> bool:
    return viewer.view == await viewer.truth()


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@asynccontextmanager
async def fleet_running(
    stack: ExitStack, data: Path, *, users: int, viewers_of_each: int
) -> AsyncIterator[Fleet]:
    up = Up(data, environment={"TIDINGS_GATEWAY_CONNECTIONS_PER_USER_MAX": "1000"})
    stack.callback(up.close)
    ports = [free_port() for _ in range(GATEWAYS)]
    dispatcher_port = free_port()
    fleet = Fleet(up, [None] * GATEWAYS, None, ports, dispatcher_port, [], [])  # type: ignore[arg-type, list-item]
    for number in range(GATEWAYS):
        fleet.start_gateway(number)
    fleet.start_dispatcher()
    stack.callback(fleet.close)
    async with AsyncExitStack() as clients:
        pool = await clients.enter_async_context(open_pool(up.running.postgres_url))
        urls = [up.url, f"http://127.0.0.1:{dispatcher_port}"]
        for number in range(users):
            _, account_id = await add_user(pool, f"user{number}")
            _, token = await issue_token(pool, f"user{number}")
            client = JmapClient(up.url, token, account_id)
            await clients.enter_async_context(client.http)
            dice = random.Random(number)
            fleet.writers.append(Writer(client, urls, dice))
            fleet.viewers += [
                Viewer(ports, client, random.Random(number * 1000 + n))
                for n in range(viewers_of_each)
            ]
        for port in [*ports, dispatcher_port]:
            await eventually(lambda p=port: _accepts(p), seconds=30)  # type: ignore[misc]
        yield fleet


async def test_a_rolling_restart_under_load_loses_nothing(stack: ExitStack, tmp_path: Path) -> None:
    async with (
        fleet_running(stack, tmp_path, users=10, viewers_of_each=5) as fleet,
        asyncio.TaskGroup() as tasks,
    ):
        watching = [tasks.create_task(viewer.run()) for viewer in fleet.viewers]
        await eventually(lambda: all(viewer.connects for viewer in fleet.viewers))
        writing = [tasks.create_task(w.run(pause_seconds=0.2)) for w in fleet.writers]
        for number in range(GATEWAYS):
            before = sum(writer.writes for writer in fleet.writers)
            await eventually(lambda: sum(w.writes for w in fleet.writers) > before + 20)  # noqa: B023
            assert await asyncio.to_thread(fleet.gateways[number].terminate) == 0
            fleet.start_gateway(number)
            port = fleet.gateway_ports[number]
            await eventually(lambda p=port: _accepts(p), seconds=30)  # type: ignore[misc]
        for task in writing:
            task.cancel()
        await fleet.converge()
        for task in watching:
            task.cancel()
    assert sum(viewer.connects for viewer in fleet.viewers) > len(fleet.viewers)
