"""compose.yaml on loopback loses each of its parts under load; all receivers end where /get is."""

import asyncio
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.test_chaos import add_people, converge
from tests.support.chaos import Api, Person, Record, View, Writer
from tests.support.chaos_clients import ChaosClient, EventSourceChaosClient, WebSocketChaosClient
from tests.support.chaos_log import missed
from tests.support.cluster import Cluster
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.push_subscriptions import subscribe
from tests.support.servers import PostgresServer
from tests.support.webhook_sink import WebhookSink, webhook_sink

pytestmark = [pytest.mark.end_to_end, pytest.mark.cluster]

SEED = int(os.environ.get("TIDINGS_TEST_CHAOS_SEED", random.randrange(1 << 32)))
WRITES_PER_SECOND = 20
WEBHOOKS = 20
KINDS = ("dispatcher", "gateway", "webhooks", "console")


class ProxiedEventSourceClient(EventSourceChaosClient):
    """A proxy makes chunks of its own, so an event may be in several, and several in one."""

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        if not self.has_view:
            self.got(await self._api.states(self.person.token, self.person.visible))
            self.has_view = True
        text = b""
        while length := int(await reader.readuntil(b"\r\n"), 16):
            text += (await reader.readexactly(length + 2))[:-2]
            *events, text = text.split(b"\n\n")
            for event in events:
                fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line)
                if fields.get(b"event") == b"state":
                    cursor = fields.get(b"id")
                    changed = json.loads(fields[b"data"])["changed"]
                    self.receive(None if cursor is None else cursor.decode(), changed)
                    await self.linger()


class Hooks:
    """Webhooks of people, a path of the sink each."""

    def __init__(self, sink: WebhookSink, people: list[Person]) -> None:
        self._sink = sink
        self._people = {f"/{person.account_id}": person for person in people}
        self._before: View = {}  # what /get said when they began: it need not be told

    async def make(self, url: str, api: Api) -> None:
        self._before = await self._truth(api)
        for path, person in self._people.items():
            client = JmapClient(url, person.token, person.account_id)
            await subscribe(client, url=self._sink.url(path), types=["AddressBook", "ContactCard"])
            await client.http.aclose()
        await eventually(lambda: all(self._sink.posts_to(path) for path in self._people))

    def told(self, path: str, record: Record) -> View:
        """What the endpoint knows; a state that went back is a violation."""
        known: View = {}
        for post in self._sink.posts_to(path):
            for account_id, states in json.loads(post.content).get("changed", {}).items():
                for type_name, state in states.items():
                    key, number = (account_id, type_name), int(state[1:])
                    if number < known.get(key, 0):
                        record.violations.append(
                            f"webhook {path}: {key} from {known[key]} to {number}"
                        )
                    known[key] = max(known.get(key, 0), number)
        return known

    def wrong(self, truth: View) -> list[str]:
        found = []
        for path, person in self._people.items():
            known = {**self._before, **self.told(path, Record())}
            if any(known[key] != truth[key] for key in truth if key[0] in person.visible):
                found.append(path)
        return found

    async def converge(self, api: Api, record: Record) -> None:
        truth = await self._truth(api)
        try:
            await eventually(lambda: not self.wrong(truth), seconds=60)
        except AssertionError:
            wrong = self.wrong(truth)
            raise AssertionError(f"{len(wrong)} webhooks are behind: {wrong[:5]}") from None
        for path in self._people:
            record.counts["webhook pushes"] += len(self._sink.posts_to(path))
            self.told(path, record)

    async def _truth(self, api: Api) -> View:
        truth: View = {}
        for person in self._people.values():
            truth |= await api.states(person.token, person.visible)
        return truth


@contextmanager
def cluster_running(folder: Path, postgres: PostgresServer, record: Record) -> Iterator[Cluster]:
    cluster = Cluster(folder, postgres, record)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


async def lose_everything_in_turn(cluster: Cluster, *, names: list[str]) -> None:
    """Each NATS node, the named processes, PostgreSQL, the proxy; then all restart in order."""
    for number in range(len(cluster.nats)):
        await cluster.lose_nats(number, seconds=2)
    for name in names:
        await cluster.lose_process(name, seconds=0.5)
    await cluster.restart_postgres()
    cluster.proxy.kill()
    await asyncio.to_thread(cluster.proxy.start)
    for number in (1, 2):  # one of each kind at a time
        async with asyncio.TaskGroup() as tasks:
            for kind in KINDS:
                tasks.create_task(cluster.restart_process(f"{kind}-{number}"))
    for number in range(len(cluster.nats)):
        await cluster.restart_nats(number)


async def survive(
    cluster: Cluster, people: list[Person], hooks: Hooks, record: Record, rounds: list[list[str]]
) -> None:
    """Writes go on through the proxy, and so do the clients, while it all happens."""
    dice = random.Random(SEED)
    api = Api([cluster.url], record, dice)
    async with api.http:
        for name in cluster.names:
            await cluster.ready(name)
        await hooks.make(cluster.url, api)
        kinds: list[type[ChaosClient]] = [ProxiedEventSourceClient, WebSocketChaosClient]
        ports = [cluster.proxy.port]
        clients = [
            kind(person, ports, api, record, random.Random(dice.random()))
            for person in people
            for kind in kinds
        ]
        writers = [Writer(person, api, record, dice) for person in people]
        for writer in writers:
            await writer.prepare()
        async with asyncio.TaskGroup() as tasks:
            loops = [tasks.create_task(cluster.supervise())]
            loops += [tasks.create_task(client.run()) for client in clients]
            async with asyncio.TaskGroup() as writing:
                for writer in writers:
                    writing.create_task(writer.run(len(people) / WRITES_PER_SECOND))
                for names in rounds:
                    await lose_everything_in_turn(cluster, names=names)
                record.is_calm = True
            await converge(people, clients, api)
            await hooks.converge(api, record)
            for loop in loops:
                loop.cancel()


async def run_cluster(folder: Path, postgres: PostgresServer, rounds: list[list[str]]) -> None:
    print(f"TIDINGS_TEST_CHAOS_SEED={SEED}")
    record = Record()
    with cluster_running(folder, postgres, record) as cluster, webhook_sink() as sink:
        people = await add_people(postgres.dsn, random.Random(SEED))
        hooks = Hooks(sink, people[-WEBHOOKS:])
        try:
            await survive(cluster, people, hooks, record, rounds)
            reader = cluster.secrets.nats_url("operator")
            record.violations += await missed(reader, postgres.dsn, record)
        finally:
            print(f"cluster: {record}")
            print(*record.violations[:20], sep="\n")
        assert not record.violations, record.violations[:20]
        # The right to answer is the connection's that was asked: one made anew has it no more.
        refused = cluster.lines_with("permissions violation")
        assert not [line for line in refused if "_inbox.gateway." not in line], refused[:5]
        assert not cluster.lines_with('"level":"error"'), cluster.lines_with('"level":"error"')[:5]
        for count in ("sse pushes", "websocket pushes", "webhook pushes", "writes"):
            assert record.counts[count] >= 100, record


async def test_the_cluster_of_compose_loses_each_part_and_nothing_that_was_told(
    tmp_path: Path, fresh_postgres: PostgresServer
) -> None:
    names = [f"{kind}-1" for kind in KINDS]
    await run_cluster(tmp_path, fresh_postgres, [names])


@pytest.mark.long
async def test_the_cluster_of_compose_loses_each_process_again_and_again(
    tmp_path: Path, fresh_postgres: PostgresServer
) -> None:
    names = [f"{kind}-{number}" for number in (1, 2) for kind in KINDS]
    await run_cluster(tmp_path, fresh_postgres, [names, names[::-1], names])
