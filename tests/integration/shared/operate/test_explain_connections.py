"""Each reason why an event was, or was not, sent on a connection, driven and found."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from services.gateway.settings import GatewaySettings
from shared.bus.connection import open_bus
from shared.log.cursor import decode_cursor
from shared.operate.connections import ConnectionFilter
from shared.operate.explain.words import Outcome, Reason, Verdict
from shared.operate.gateways import Gateways
from shared.store.credentials import issue_token
from shared.web_push.sealing import Vault
from tests.support.dispatcher import SECRET_KEY, JmapClient
from tests.support.eventually import eventually
from tests.support.everything import RunningEverything, everything_running
from tests.support.explained import Explainer
from tests.support.websocket import WebSocketClient
from tests.support.websocket_talk import ENABLE
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.integration

FLUSH_SECONDS = 1.0  # of the slow gateway
WIDE = {f"Type{number:03}": "x" * 200 for number in range(100)}
_names = itertools.count(1)


class Person:
    """A user with an account, whose states somebody else appends."""

    def __init__(self, running: RunningEverything, client: JmapClient, append_token: str) -> None:
        self.running = running
        self.client = client
        self.name = ""
        self.token_id = ""
        self._append_token = append_token
        self._states = itertools.count(1)

    async def change(self, *types: str, account_id: str = "") -> tuple[int, str]:
        """Sequence and cursor of an event."""
        states = {type_name: f"s{next(self._states)}" for type_name in types or ("Email",)}
        return await self.append(states, account_id=account_id)

    async def append(self, states: dict[str, str], *, account_id: str = "") -> tuple[int, str]:
        changed = {account_id or self.client.account_id: states}
        answer = await self.client.http.post(
            "/tidings/append",
            json={"@type": "StateChange", "changed": changed},
            headers={"Authorization": f"Bearer {self._append_token}"},
        )
        assert answer.status_code == 200, answer.text
        cursor = decode_cursor(answer.json()["cursor"])
        assert cursor is not None
        return cursor.sequence, answer.json()["cursor"]

    async def stream(self, *, types: str = "*", cursor: str = "") -> EventSourceClient:
        target = f"/jmap/eventsource?types={types}&closeafter=no&ping=0"
        headers = [f"Authorization: Bearer {self.client.token}"]
        if cursor:
            headers.append(f"Last-Event-ID: {cursor}")
        stream = await EventSourceClient.get(self.running.port, target, *headers)
        assert stream.status == 200
        return stream

    async def socket(self) -> WebSocketClient:
        authorization = f"Authorization: Bearer {self.client.token}"
        return await WebSocketClient.connect(self.running.port, authorization)


@pytest.fixture(scope="module")
async def running(
    clean_nats_of_module: str, dsn_of_module: str
) -> AsyncIterator[RunningEverything]:
    async with everything_running(clean_nats_of_module, dsn_of_module) as running:
        yield running


@pytest.fixture(scope="module")
async def slow(
    running: RunningEverything, clean_nats_of_module: str, dsn_of_module: str
) -> AsyncIterator[RunningEverything]:
    """A second one on the same servers, whose gateway merges for a second."""
    del running
    settings = GatewaySettings(drain_seconds=0, flush_milliseconds=int(FLUSH_SECONDS * 1000))
    async with everything_running(clean_nats_of_module, dsn_of_module, settings) as slow:
        yield slow


@pytest.fixture(scope="module")
async def why(running: RunningEverything, clean_nats_of_module: str) -> AsyncIterator[Explainer]:
    async with open_bus(clean_nats_of_module, name="explain") as bus:
        yield Explainer(running.everything.pool, bus, Vault(SECRET_KEY))


@pytest.fixture
async def ada(running: RunningEverything) -> Person:
    return await person(running)


async def person(running: RunningEverything) -> Person:
    name = f"person{next(_names)}"
    client, token_id = await running.user(name)
    _, append_token = await issue_token(running.everything.pool, name, scopes=["append"])
    found = Person(running, client, append_token)
    found.name, found.token_id = name, token_id
    await found.change("Mailbox")  # so that the account's first events are not on their way
    return found


async def connection_of(why: Explainer, person: Person, *, ended: bool = False) -> str:
    """The id of the newest."""
    assert why.bus is not None
    gateways = Gateways(why.bus, by="a test")

    async def found() -> str:
        listing = await gateways.find(ConnectionFilter(user=person.name), count=1, ended=ended)
        return listing.connections[0].id if listing.connections else ""

    return await eventually(found)


async def becomes(why: Explainer, reason: Reason, event: int, connection_id: str) -> Verdict:
    seen: list[Verdict] = []

    async def is_found() -> bool:
        seen[:] = [await why.connection(event, connection_id)]
        return seen[0].reason is reason

    try:
        await eventually(is_found)
    except AssertionError as error:
        raise AssertionError(f"not {reason}, but {seen}") from error
    return seen[0]


# Told.


async def test_sent_with_its_times(ada: Person, why: Explainer) -> None:
    async with await ada.stream() as stream:
        connection = await connection_of(why, ada)
        sequence, cursor = await ada.change()
        assert (await stream.state())[0] == cursor
        found = await why.connection(sequence, connection)
    assert (found.reason, found.outcome) == (Reason.TOLD, Outcome.TOLD)
    assert [step.what for step in found.steps] == ["opened", "committed", "appended", "sent"]
    assert "after the commit" in found.headline
    assert found.receiver.detail == "sse from 127.0.0.1"


async def test_sent_on_a_websocket_once_push_is_enabled(ada: Person, why: Explainer) -> None:
    async with await ada.socket() as socket:
        connection = await connection_of(why, ada)
        first, _ = await ada.change()
        assert (await why.connection(first, connection)).reason is Reason.PUSH_NOT_ENABLED
        socket.send(ENABLE)

        async def is_enabled() -> bool:
            return "it was enabled" in (await why.connection(first, connection)).headline

        await eventually(is_enabled)
        second, _ = await ada.change()
        await socket.message()
        assert (await why.connection(second, connection)).reason is Reason.TOLD
        socket.send({"@type": "WebSocketPushDisable"})
        await becomes(why, Reason.TOLD, second, connection)

        async def is_not_told() -> bool:
            third, _ = await ada.change()
            return (await why.connection(third, connection)).reason is Reason.PUSH_NOT_ENABLED

        await eventually(is_not_told)


async def test_sent_so_long_ago_that_the_frame_is_not_kept(ada: Person, why: Explainer) -> None:
    async with await ada.stream() as stream:
        connection = await connection_of(why, ada)
        sequence, _ = await ada.change()
        await stream.state()
        for _ in range(33):
            await ada.change("Mailbox")
            await stream.state()
        found = await why.connection(sequence, connection)
    assert found.reason is Reason.TOLD_NOT_KEPT, found


async def test_merged_for_a_moment_and_sent_as_part_of_a_later_frame(
    slow: RunningEverything, why: Explainer
) -> None:
    """All within FLUSH_SECONDS, which a machine in use may need several tries for."""
    ada = await person(slow)
    async with await ada.stream() as stream:
        connection = await connection_of(why, ada)

        async def is_merged() -> bool:
            await ada.change()
            cursor, _ = await stream.state()
            second, _ = await ada.change()
            third, last = await ada.change()
            merging = await why.connection(second, connection)
            while cursor != last:
                cursor, _ = await stream.state()
            found = await why.connection(second, connection)
            assert (await why.connection(third, connection)).reason is Reason.TOLD
            return (
                merging.reason is Reason.MERGING
                and found.reason is Reason.TOLD_WITH_LATER
                and f"the newer state of event {third}" in found.headline
            )

        await eventually(is_merged, seconds=30)


async def test_its_client_went_before_it_was_told(slow: RunningEverything, why: Explainer) -> None:
    ada = await person(slow)

    async def is_told_too_late() -> bool:
        async with await ada.stream() as stream:
            connection = await connection_of(why, ada)
            await ada.change()
            await stream.state()
            sequence, _ = await ada.change()

        async def has_ended() -> bool:
            return await connection_of(why, ada, ended=True) == connection

        await eventually(has_ended)
        found = await why.connection(sequence, connection)
        return (
            found.reason is Reason.ENDED_UNTOLD
            and "its client closed it, or went away" in found.headline
        )

    await eventually(is_told_too_late, seconds=30)


# Not for it.


async def test_filtered_by_the_types_of_the_stream(ada: Person, why: Explainer) -> None:
    async with await ada.stream(types="Mailbox"):
        connection = await connection_of(why, ada)
        sequence, _ = await ada.change("Email")
        found = await why.connection(sequence, connection)
    assert found.headline == (
        "Not sent: the connection's types are Mailbox only; this event changed Email"
    )


async def test_the_rights_of_its_user(
    running: RunningEverything, ada: Person, why: Explainer
) -> None:
    account = await running.account(f"shared by {ada.name}")
    async with await ada.stream(types="Email") as stream:
        connection = await connection_of(why, ada)
        first, _ = await ada.change(account_id=account)
        assert (await why.connection(first, connection)).reason is Reason.NO_GRANT
        await running.grant(account, ada.name)

        async def is_told() -> bool:
            second, _ = await ada.change(account_id=account)
            return (await why.connection(second, connection)).reason is Reason.TOLD

        await eventually(is_told)
        await stream.state()
        await running.ungrant(account, ada.name)
        third, _ = await ada.change(account_id=account)
        await becomes(why, Reason.GRANT_REMOVED, third, connection)


async def test_opened_after_the_event(ada: Person, why: Explainer) -> None:
    first, first_cursor = await ada.change("Mailbox")
    second, second_cursor = await ada.change("Email")
    async with await ada.stream():
        without = await connection_of(why, ada)
        found = await becomes(why, Reason.OPENED_LATER, second, without)
        assert "is told only what changes after it" in found.headline
    async with await ada.stream(cursor=first_cursor) as stream:
        await stream.state()
        behind = await connection_of(why, ada)
        assert (await why.connection(second, behind)).reason is Reason.TOLD
        assert (await why.connection(first, behind)).reason is Reason.CURSOR_BEYOND
    async with await ada.stream(cursor=second_cursor):
        beyond = await connection_of(why, ada)
        await becomes(why, Reason.CURSOR_BEYOND, second, beyond)


async def test_ended_before_the_event(
    running: RunningEverything, ada: Person, why: Explainer
) -> None:
    async with await ada.stream():
        connection = await connection_of(why, ada)
        await running.revoke(ada.token_id)
        assert await connection_of(why, ada, ended=True) == connection
    sequence, _ = await ada.change()
    found = await why.connection(sequence, connection)
    assert found.reason is Reason.ENDED_BEFORE
    assert "its credential was revoked" in found.headline


async def test_a_peer_that_does_not_read(ada: Person, why: Explainer) -> None:
    async with await ada.stream() as stream:
        connection = await connection_of(why, ada)
        stream.writer.transport.pause_reading()  # type: ignore[attr-defined]

        async def is_stalled() -> bool:
            sequence, _ = await ada.append({name: f"{next(_names)}{x}" for name, x in WIDE.items()})
            return (await why.connection(sequence, connection)).reason is Reason.STALLED

        await eventually(is_stalled, seconds=60)
        sequence, _ = await ada.change()
        found = await becomes(why, Reason.STALLED, sequence, connection)
        assert "octets are written and not taken" in found.headline
    await becomes(why, Reason.ENDED_UNTOLD, sequence, connection)


async def test_a_gateway_that_is_behind_the_log(ada: Person, why: Explainer) -> None:
    """An operator paused its consumer; it answers, and has not read the event."""
    assert why.bus is not None
    async with await ada.stream() as stream:
        connection = await connection_of(why, ada)
        names = msgspec.json.decode(
            await why.bus.request("$JS.API.CONSUMER.NAMES.STATE", b"", timeout_seconds=5)
        )["consumers"]
        until = datetime.now(UTC) + timedelta(seconds=60)
        for name in names:
            if name != "webhooks":
                await _pause(why, name, until.isoformat())
        sequence, _ = await ada.change()
        found = await becomes(why, Reason.GATEWAY_BEHIND, sequence, connection)
        assert found.outcome is Outcome.WAITS
        for name in names:
            if name != "webhooks":
                await _pause(why, name, datetime.now(UTC).isoformat())
        await stream.state()
        await becomes(why, Reason.TOLD, sequence, connection)


async def _pause(why: Explainer, consumer: str, until: str) -> None:
    assert why.bus is not None
    body = msgspec.json.encode({"pause_until": until})
    answer = await why.bus.request(
        f"$JS.API.CONSUMER.PAUSE.STATE.{consumer}", body, timeout_seconds=5
    )
    assert "error" not in msgspec.json.decode(answer), answer


# Nobody is there.


async def test_a_connection_that_nobody_knows(ada: Person, why: Explainer) -> None:
    sequence, _ = await ada.change()
    async with await ada.stream():
        gateway = (await connection_of(why, ada)).partition("-")[0]
    found = await why.connection(sequence, f"{gateway}-999999")
    assert (found.reason, found.outcome) == (Reason.UNKNOWN_CONNECTION, Outcome.UNKNOWN)
    assert (await why.connection(sequence, "nobody-1")).reason is Reason.GATEWAY_SILENT


async def test_more_connections_than_are_looked_at(ada: Person, why: Explainer) -> None:
    async with AsyncExitStack() as streams:
        for _ in range(51):
            await streams.enter_async_context(await ada.stream())
        sequence, _ = await ada.change()
        *looked_at, rest = await why.user(sequence, ada.name)
    assert len(looked_at) == 50
    assert (rest.reason, rest.outcome) == (Reason.MORE_CONNECTIONS, Outcome.UNKNOWN)
    assert "than the 50 newest" in rest.headline


async def test_all_that_a_user_has(ada: Person, why: Explainer) -> None:
    sequence, _ = await ada.change()
    [nobody] = await why.user(sequence, ada.name)
    assert nobody.reason is Reason.NO_RECEIVER
    async with await ada.stream() as stream, await ada.stream(types="Mailbox"):
        await connection_of(why, ada)
        sequence, _ = await ada.change("Email")
        await stream.state()

        async def reasons() -> bool:
            verdicts = await why.user(sequence, ada.name)
            return {verdict.reason for verdict in verdicts} == {
                Reason.TOLD,
                Reason.FILTERED_BY_TYPE,
            }

        await eventually(reasons)
