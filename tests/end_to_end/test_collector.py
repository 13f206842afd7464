"""Spans at a real OTLP receiver: of `tidings up`, and of a gateway of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.cli.embedded.ports import free_port
from tests.support.eventually import wait_until
from tests.support.processes import ROOT, Process, Up, environment_of_test
from tests.support.trace_collector import TraceCollector, trace_collector
from tests.support.webhook_sink import WebhookSink, webhook_sink

pytestmark = pytest.mark.end_to_end

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
USING = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:contacts"]
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100"}  # milliseconds


@pytest.fixture
def collector() -> Iterator[TraceCollector]:
    with trace_collector() as collector:
        yield collector


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


@pytest.fixture
def up(tmp_path: Path, collector: TraceCollector) -> Iterator[Up]:
    running = Up(tmp_path, environment={"TIDINGS_TRACES_ENDPOINT": collector.url, **SOON})
    yield running
    running.close()


def call(client: httpx.Client, method: str, arguments: object, **headers: str) -> None:
    request = {"using": USING, "methodCalls": [[method, arguments, "0"]]}
    answer = client.post("/jmap/api", json=request, headers=headers).json()
    assert answer["methodResponses"][0][1]["created"], answer


@contextmanager
def gateway_running(data: Path, collector: TraceCollector) -> Iterator[str]:
    """It finds the collector by the variable of OpenTelemetry."""
    port = free_port()
    gateway = Process(
        "gateway",
        environment={
            "TIDINGS_DATA": str(data),
            "TIDINGS_PORT": str(port),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            **SOON,
        },
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(f"{url}/health/ready"), seconds=30, what=gateway.output)
        yield url
        assert gateway.terminate() == 0
    finally:
        gateway.close()


def change_while_somebody_listens(up: Up, gateway: str, sink: WebhookSink) -> None:
    account = up.command("user", "add", "ada")["account"]
    token = up.command("token", "issue", "ada")["token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=up.url, headers=headers, timeout=30, trust_env=False) as client:
        create = {"s": {"deviceClientId": "d", "url": sink.url("/hook")}}
        call(client, "PushSubscription/set", {"create": create})
        wait_until(lambda: bool(sink.posts), seconds=20)
        path = f"{gateway}/jmap/eventsource?types=*&closeafter=state&ping=0"
        with client.stream("GET", path) as stream:
            traceparent = f"00-{TRACE_ID}-{SPAN_ID}-01"
            arguments = {"accountId": account, "create": {"b": {"name": "Another"}}}
            call(client, "AddressBook/set", arguments, traceparent=traceparent)
            assert any("event: state" in line for line in stream.iter_lines())


def test_one_trace_goes_over_two_processes_to_the_collector(
    up: Up, collector: TraceCollector, sink: WebhookSink
) -> None:
    def parents() -> dict[tuple[str, str], str]:
        return {(span.service, span.name): span.parent_id for span in collector.spans}

    names = ("POST /jmap/api", "AddressBook/set", "append", "webhook")
    wanted = {("up", name) for name in names} | {("gateway", "push")}
    with gateway_running(up.data, collector) as gateway:
        change_while_somebody_listens(up, gateway, sink)
        wait_until(lambda: wanted <= parents().keys(), seconds=20, what=lambda: str(parents()))

    assert {span.trace_id for span in collector.spans} == {TRACE_ID}
    assert all(0 <= span.nanoseconds < 60e9 for span in collector.spans)
    ids = {span.name: span.span_id for span in collector.spans}
    found = parents()
    assert found["up", "POST /jmap/api"] == SPAN_ID
    assert found["up", "AddressBook/set"] == ids["POST /jmap/api"]
    for place in (("up", "append"), ("up", "webhook"), ("gateway", "push")):
        assert found[place] == ids["AddressBook/set"]
    told = [post.headers["traceparent"] for post in sink.posts if b'"StateChange"' in post.content]
    assert f"00-{TRACE_ID}-{ids['webhook']}-01" in told


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_collector_that_is_away_holds_up_neither_requests_nor_the_end(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    environment = {"TIDINGS_TRACES_ENDPOINT": nobody, "TIDINGS_TRACES_SAMPLED_RATIO": "1"}
    up = Up(tmp_path, environment=environment)
    try:
        begun = time.monotonic()
        for _ in range(20):
            assert httpx.get(f"{up.url}/jmap/session", trust_env=False).status_code == 401
        assert time.monotonic() - begun < 10
        begun = time.monotonic()
        assert up.terminate() == 0
        assert time.monotonic() - begun < 15
    finally:
        up.close()


def test_without_opentelemetry_the_start_says_what_is_missing(tmp_path: Path) -> None:
    """And without a collector nothing of it is looked for."""
    without = (
        "import sys; sys.modules['opentelemetry'] = None; from services.cli.__main__ import main"
    )
    environment = {"TIDINGS_DATA": str(tmp_path), "TIDINGS_PORT": "0"}
    done = subprocess.run(
        [sys.executable, "-c", f"{without}; sys.argv = ['tidings', 'up']; main()"],
        cwd=ROOT,
        env=environment_of_test({**environment, "TIDINGS_TRACES_ENDPOINT": "http://127.0.0.1:1"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "pip install 'tidings[otel]'" in done.stderr
