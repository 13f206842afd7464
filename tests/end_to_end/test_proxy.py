"""What the reverse proxy of compose.yaml does to streams, large bodies and what nobody may see."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from shared.store.credentials import issue_token
from shared.store.people import add_user
from shared.store.pool import open_pool
from tests.support.chaos import Record
from tests.support.cluster import Cluster
from tests.support.console import ConsoleClient, streaming
from tests.support.dispatcher import JmapClient
from tests.support.eventually import PATIENCE, eventually
from tests.support.servers import postgres_server_running
from tests.support.websocket import WebSocketClient
from tests.support.websocket_talk import ENABLE, asking
from tests.support.wire import EventSourceClient

pytestmark = [pytest.mark.end_to_end, pytest.mark.cluster]

_MAX_SIZE_UPLOAD = 50_000_000
_MAX_SIZE_REQUEST = 10_000_000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with postgres_server_running(is_durable=False) as postgres:
        cluster = Cluster(tmp_path_factory.mktemp("cluster"), postgres, Record())
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.close()


@pytest.fixture
async def client(cluster: Cluster, request: pytest.FixtureRequest) -> JmapClient:
    for name in cluster.names:
        await cluster.ready(name)
    user = request.node.name
    async with open_pool(cluster.postgres.dsn, connections_max=1) as pool:
        _, account_id = await add_user(pool, user)
        _, token = await issue_token(pool, user)
    return JmapClient(cluster.url, token, account_id)


async def test_streams_go_through_as_they_are_written(cluster: Cluster, client: JmapClient) -> None:
    authorization = f"Authorization: Bearer {client.token}"
    target = "/jmap/eventsource?types=ContactCard&closeafter=no&ping=0"
    offers = (authorization, "Accept-Encoding: gzip, br")
    async with (
        client.http,
        await EventSourceClient.get(cluster.proxy.port, target, *offers) as stream,
        await WebSocketClient.connect(cluster.proxy.port, authorization) as socket,
    ):
        assert (stream.status, socket.status) == (200, 101)
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in stream.headers
        socket.send(ENABLE)
        socket.send(asking("r1", hello=True))
        assert (await socket.message())["requestId"] == "r1"
        for name in ("Ada", "Grace"):
            await client.add_card(name={"full": name})
            state = (await client.call("ContactCard/get", ids=[]))["state"]
            _, changed = await stream.state()  # while the response goes on
            assert changed == {client.account_id: {"ContactCard": state}}
            assert (await socket.message())["changed"][client.account_id]["ContactCard"] == state


async def test_the_session_names_the_proxy(cluster: Cluster, client: JmapClient) -> None:
    async with client.http as http:
        session = (await http.get("/.well-known/jmap", follow_redirects=True)).json()
    assert session["apiUrl"].startswith(cluster.url)
    assert session["eventSourceUrl"].startswith(cluster.url)


async def test_the_largest_bodies_pass_and_larger_ones_are_refused_in_the_words_of_jmap(
    client: JmapClient,
) -> None:
    async with client.http as http:
        upload = f"/jmap/upload/{client.account_id}/"
        large = bytes(_MAX_SIZE_UPLOAD)
        answer = await http.post(upload, content=large)
        assert answer.status_code == 201, answer.text
        blob_id = answer.json()["blobId"]
        download = f"/jmap/download/{client.account_id}/{blob_id}/zeros?type=text/plain"
        assert (await http.get(download)).content == large
        answer = await http.post(upload, content=large + b"!")
        assert (answer.status_code, answer.json()["limit"]) == (413, "maxSizeUpload")
        json = {"Content-Type": "application/json"}
        answer = await http.post("/jmap/api", content=b" " * (_MAX_SIZE_REQUEST + 1), headers=json)
        assert (answer.status_code, answer.json()["limit"]) == (413, "maxSizeRequest")


async def test_operators_reach_either_console_with_one_login(
    cluster: Cluster, client: JmapClient
) -> None:
    """With the rights of the console's own NATS user, over streams that are not held back."""
    name = "test_operators_reach_either_console_with_one_login"
    async with open_pool(cluster.postgres.dsn, connections_max=1) as pool:
        _, token = await issue_token(pool, name, scopes=["operate"])
    operator = ConsoleClient(cluster.url)
    async with client.http, operator.http:
        page = await operator.http.get(f"{cluster.url}/console/")
        assert page.headers["content-type"].startswith("text/html")
        assert (await operator.log_in(token)).status_code == 200
        for _ in range(4):  # by turns
            assert len((await operator.get("/overview"))["gateways"]) == 2
        async with streaming(operator, account=client.account_id) as events:
            await client.add_card(name={"full": "Ada"})
            async with asyncio.timeout(20 * PATIENCE):
                kind, told = await anext(events)
        assert (kind, told["account"]) == ("event", client.account_id)
        history = await operator.get("/events", account=client.account_id)
        assert history["events"][0]["cursor"] == told["cursor"]
        asked = {"event": told["cursor"], "user": name}
        explained = await operator.post("/explain", asked)
        assert explained.status_code == 200, explained.text
    assert not cluster.lines_with("permissions violation")


async def test_health_and_metrics_of_the_processes_are_not_for_everybody(
    client: JmapClient,
) -> None:
    async with client.http as http:
        for path in ("/metrics", "/health/ready", "/", "/tidings/"):
            assert (await http.get(path)).status_code == 404
        assert (await http.get("/health/live")).text == "live\n"
        assert (await http.post("/tidings/append", json={})).status_code in (400, 401, 403)
        described = (await http.get("/tidings/asyncapi.json")).json()
        assert described["asyncapi"] == "3.0.0"


async def test_the_log_of_the_proxy_holds_no_ticket(cluster: Cluster, client: JmapClient) -> None:
    async with client.http as http:
        ticket = (await http.post("/jmap/ticket")).json()["ticket"]
    target = f"/jmap/eventsource?types=*&closeafter=no&ping=0&ticket={ticket}"
    async with await EventSourceClient.get(cluster.proxy.port, target) as stream:
        assert stream.status == 200  # by whichever gateway, whoever issued it
    await eventually(lambda: "/jmap/eventsource" in cluster.proxy.log())
    assert ticket not in cluster.proxy.log()


async def test_without_any_dispatcher_a_request_is_told_to_come_again_and_streams_stay(
    cluster: Cluster, client: JmapClient
) -> None:
    authorization = f"Authorization: Bearer {client.token}"
    target = "/jmap/eventsource?types=ContactCard&closeafter=no&ping=0"
    async with (
        client.http as http,
        await EventSourceClient.get(cluster.proxy.port, target, authorization) as stream,
    ):
        async with cluster.without("dispatcher-1"), cluster.without("dispatcher-2"):
            answer = await http.post("/jmap/api", json={})
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == 503
        await eventually(lambda: _echoes(client), seconds=60)
        await client.add_card(name={"full": "After"})
        state = (await client.call("ContactCard/get", ids=[]))["state"]
        assert (await stream.state())[1] == {client.account_id: {"ContactCard": state}}


async def _echoes(client: JmapClient) -> bool:
    request = {"using": list(client.using), "methodCalls": [["Core/echo", {}, "0"]]}
    try:
        return (await client.post(request)).status_code == 200
    except httpx.HTTPError:
        return False
