"""Connections from the outside: `tidings up` and a second gateway, asked by the command line."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.cli.embedded.ports import free_port
from tests.support.eventually import eventually, wait_until
from tests.support.jmap_user import JmapUser
from tests.support.processes import Process, Up, tidings
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.end_to_end

TARGET = "/jmap/eventsource?types={}&closeafter=no&ping=0"


class Two:
    """An `up` and a gateway of its own beside it."""

    def __init__(self, up: Up, gateway: Process, port: int) -> None:
        self.up = up
        self.gateway = gateway
        self.ports = [int(up.url.rpartition(":")[2]), port]

    async def get(self, number: int, user: JmapUser, types: str = "*") -> EventSourceClient:
        authorization = f"Authorization: Bearer {user.token}"
        return await EventSourceClient.get(self.ports[number], TARGET.format(types), authorization)

    def json(self, *arguments: str) -> Any:
        return self.up.command("connection", *arguments)

    def said(self, *arguments: str) -> str:
        done = tidings("connection", *arguments, environment=self.up.environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def lines(self, event: str) -> list[dict[str, Any]]:
        output = [*self.up.lines, *self.gateway.lines]
        return [json.loads(line) for line in output if f'"event":"{event}"' in line]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    up = Up(tmp_path_factory.mktemp("connections") / "data")
    port = free_port()
    gateway = Process("gateway", environment={**up.environment, "TIDINGS_PORT": str(port)})
    try:
        wait_until(lambda: _is_ready(port), seconds=30, what=gateway.output)
        two = Two(up, gateway, port)
        wait_until(lambda: len(two.json("list")["gateways"]) == 2)
        yield two
        assert gateway.terminate() == 0
        assert up.terminate() == 0
    finally:
        gateway.close()
        up.close()


async def told(stream: EventSourceClient, user: JmapUser) -> tuple[str, dict[str, dict[str, str]]]:
    """What comes of a change; a new account's address book may come before."""
    state = user.change()
    while True:
        cursor, changed = await stream.state()
        if changed[user.account].get("AddressBook") == state:
            return cursor, changed


def _is_ready(port: int) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/health/ready"
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


async def test_an_operator_finds_out_why_a_push_did_not_arrive(two: Two) -> None:
    """It was told: to this connection, at this time; the other one did not ask for the type."""
    ada = JmapUser(two.up, "ada")
    async with await two.get(0, ada) as stream, await two.get(1, ada, "Mailbox"):
        cursor, changed = await told(stream, ada)
        listed = two.json("list", "--user", "ada")["connections"]
        [all_types] = [one for one in listed if one["types"] is None]
        [mailbox] = [one for one in listed if one["types"] == ["Mailbox"]]
        assert all_types["gateway"] != mailbox["gateway"]
        assert all_types["toldCursor"] == cursor
        await eventually(lambda: two.json("show", mailbox["id"])["filteredCursor"] == cursor)
        shown = two.json("show", all_types["id"])
        assert shown["moments"][-1]["changed"] == changed
        text = two.said("show", mailbox["id"])
        assert "of no type that was asked for" in text
        assert "nothing yet" in text
        table = two.said("list")
        assert all_types["id"] in table
        assert "127.0.0.1" in table
        assert ada.token not in table + text + json.dumps(shown)


async def test_what_ended_can_be_asked_for_and_is_one_line_in_the_log(two: Two) -> None:
    ben = JmapUser(two.up, "ben")
    async with await two.get(1, ben) as stream:
        cursor, _ = await told(stream, ben)
        [one] = two.json("list", "--user", "ben")["connections"]
    ended = await eventually(
        lambda: [
            line for line in two.lines("connection_ended") if line["connection_id"] == one["id"]
        ]
    )

    assert len(ended) == 1
    line = ended[0]
    assert (line["reason"], line["messages"], line["cursor"]) == ("client", one["messages"], cursor)
    assert (line["transport"], line["user_id"]) == ("sse", one["user"])
    assert (line["remote_address"], line["credential_id"]) == ("127.0.0.1", one["credential"])
    assert two.json("show", one["id"])["endReason"] == "client"
    assert one["id"] in two.said("list", "--ended", "--user", "ben")
    assert not two.json("list", "--user", "ben")["connections"]


async def test_a_stream_is_followed_live_until_it_ends(two: Two) -> None:
    cat = JmapUser(two.up, "cat")
    async with await two.get(1, cat) as stream:
        [one] = two.json("list", "--user", "cat")["connections"]
        follower = Process(
            "connection", "tail", one["id"], "--json", environment=two.up.environment
        )
        try:
            await eventually(lambda: two.json("list")["gateways"][0]["watches"] == 1)
            cursor, changed = await told(stream, cat)
            state = json.loads(follower.wait_for_line(f'"cursor":"{cursor}"'))
            assert (state["connection"], state["moment"]["kind"]) == (one["id"], "state")
            assert state["moment"]["changed"] == changed
            assert "1 closed" in two.said("close", "--user", "cat", "--reason", "enough")
            assert (await stream.body()).endswith(b"0\r\n\r\n")
            assert follower.wait() == 0
            assert '"kind":"ended"' in follower.output()
        finally:
            follower.close()
    [line] = two.lines("connections_closed")
    assert (line["reason"], line["connections"]) == ("enough", [one["id"]])
    assert "@" in line["by"]


async def test_a_client_is_told_everything_again(two: Two) -> None:
    dan = JmapUser(two.up, "dan")
    dan.change()
    async with await two.get(1, dan) as stream:
        [one] = two.json("list", "--user", "dan")["connections"]
        assert "1 resynchronised" in two.said("resync", one["id"])
        _, changed = await stream.state()
        assert changed[dan.account]["AddressBook"]


def test_what_cannot_be_is_refused_in_one_line(two: Two) -> None:
    for arguments, said in (
        (("show", "aaaaaa-1"), "no gateway aaaaaa answers"),
        (("tail", "aaaaaa-1"), "no gateway aaaaaa answers"),
        (("close", "aaaaaa-1"), "no connection was closed"),
        (("close",), "give the ID of a connection, or --user"),
        (("resync", "aaaaaa-1", "--user", "ada"), "give the ID of a connection, or --user"),
        (("list", "--account", "nobody"), "nobody"),
    ):
        done = tidings("connection", *arguments, environment=two.up.environment)
        assert done.returncode == 3, (arguments, done)
        assert said in done.stderr, (arguments, done.stderr)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


async def test_a_gateway_that_was_killed_is_named_and_then_forgotten(two: Two) -> None:
    port = free_port()
    gateway = Process("gateway", environment={**two.up.environment, "TIDINGS_PORT": str(port)})
    try:
        await eventually(lambda: len(two.json("list")["gateways"]) == 3, seconds=30)
        known = {one["id"] for one in two.json("list")["gateways"]}
        gateway.kill()
        listing = two.json("list")
        dead = known - {one["id"] for one in listing["gateways"]}
        assert set(listing["silent"]) == dead
        assert len(dead) == 1
        done = tidings("connection", "list", environment=two.up.environment)
        assert done.returncode == 0
        assert f"gateway {dead.pop()} did not answer" in done.stderr
    finally:
        gateway.close()
