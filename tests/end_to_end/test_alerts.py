"""The alert rules, evaluated by Prometheus over a real `tidings up`: quiet in health, else loud."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import promql_parser
import pytest
import yaml

from tests.support.alert_conditions import CONDITIONS
from tests.support.processes import ROOT, Up, tidings
from tests.support.prometheus import RULES, Prometheus, program
from tests.support.webhook_sink import Behaviour, WebhookSink, webhook_sink

pytestmark = [pytest.mark.end_to_end, pytest.mark.prometheus]

USING = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:contacts"]
SMALL_LOG = {"TIDINGS_LOG_BYTES_MAX": str(2**20)}
# Of what a healthy server without method services has not met yet.
WITHOUT_A_VALUE = {
    "TidingsConnectionsRefused",
    "TidingsHttpErrors",
    "TidingsMethodServiceGone",
}
HISTORY = frozenset({"TidingsErrorsLogged", "TidingsWebhookUnauthorized"})  # of the last minutes


@pytest.fixture(scope="module")
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up"), environment=SMALL_LOG)
    yield running
    running.close()


@pytest.fixture(scope="module")
def client(up: Up) -> Iterator[httpx.Client]:
    user = up.command("user", "add", "ada")
    token = up.command("token", "issue", "ada", "--scope", "jmap,append")["token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=up.url, headers=headers, timeout=30, trust_env=False) as http:
        http.headers["X-Account"] = user["account"]
        yield http


@pytest.fixture(scope="module")
def prometheus(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus") / "here"
    running = Prometheus(folder, urlsplit(up.url).netloc)
    yield running
    running.close()


def change(client: httpx.Client) -> None:
    account = client.headers["X-Account"]
    arguments = {"accountId": account, "create": {"b": {"name": str(time.monotonic())}}}
    request = {"using": USING, "methodCalls": [["AddressBook/set", arguments, "0"]]}
    assert client.post("/jmap/api", json=request).json()["methodResponses"][0][1]["created"]


def subscribe(client: httpx.Client, url: str) -> None:
    create = {"s": {"deviceClientId": url, "url": url, "types": None}}
    calls = [["PushSubscription/set", {"create": create}, "0"]]
    answer = client.post("/jmap/api", json={"using": USING[:1], "methodCalls": calls}).json()
    assert answer["methodResponses"][0][1]["created"], answer


def has_posts(sink: WebhookSink, path: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(sink.posts_to(path)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    for arguments in (("check", "rules", str(RULES)), ("check", "config", "prometheus.yaml")):
        folder = ROOT / "observability"
        done = subprocess.run(
            [program("promtool"), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "FAILED" not in done.stdout + done.stderr


def test_each_rule_fires_at_its_condition_and_not_below_it(tmp_path: Path) -> None:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    assert CONDITIONS.keys() == {rule["alert"] for rule in rules}
    tests = [
        {
            "name": f"{name}: {'fires' if is_loud else 'quiet'}",
            "interval": "30s",
            "input_series": [{"series": key, "values": value} for key, value in series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
                    "eval_time": "30m",
                    "exp_samples": [{"labels": "{}", "value": 1}] if is_loud else [],
                }
            ],
        }
        for name, conditions in CONDITIONS.items()
        for is_loud, series in zip((True, False), conditions, strict=True)
    ]
    given = {"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": tests}
    path = tmp_path / "conditions.yaml"
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    done = subprocess.run(
        [program("promtool"), "test", "rules", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_in_health_each_rule_has_something_to_look_at_and_none_fires(
    client: httpx.Client, prometheus: Prometheus, sink: WebhookSink
) -> None:
    subscribe(client, sink.url("/well"))
    has_posts(sink, "/well", 1)
    with client.stream("GET", "/jmap/eventsource?types=*&closeafter=state&ping=0") as stream:
        change(client)
        assert any("event: state" in line for line in stream.iter_lines())
    has_posts(sink, "/well", 2)
    prometheus.wait_for_quiet()
    sides = {}
    for rule in prometheus.rules():
        compared = promql_parser.parse(rule["query"])
        assert isinstance(compared, promql_parser.BinaryExpr)
        sides[rule["name"]] = compared.lhs.prettify()

    def unseen() -> set[str]:
        return {name for name, side in sides.items() if not prometheus.query(side)}

    deadline = time.monotonic() + 40
    while unseen() != WITHOUT_A_VALUE:
        assert time.monotonic() < deadline, unseen()
        change(client)
        time.sleep(0.5)
    assert not prometheus.firing()


def test_a_nats_server_that_hangs_is_told_of_and_the_silence_after_it(
    up: Up, client: httpx.Client, prometheus: Prometheus
) -> None:
    nats = up.children()["nats"]
    os.kill(nats, signal.SIGSTOP)
    try:
        change(client)
        prometheus.wait_for(
            "TidingsAppendsPostponed",
            "TidingsLogUnsound",
            "TidingsNatsDisconnected",
            "TidingsNotReady",
            "TidingsTailNotLive",
            "TidingsWebhooksNotReading",
        )
    finally:
        os.kill(nats, signal.SIGCONT)
    prometheus.wait_for_quiet(but=HISTORY)


def test_endpoints_that_fail_and_that_refuse_our_signature_are_told_of(
    client: httpx.Client, prometheus: Prometheus, sink: WebhookSink
) -> None:
    subscribe(client, sink.url("/broken"))
    has_posts(sink, "/broken", 1)
    sink.behave("/broken", Behaviour(status=401), Behaviour(status=500))
    change(client)
    prometheus.wait_for(
        "TidingsWebhooksFailing", "TidingsWebhookUnauthorized", "TidingsErrorsLogged"
    )
    sink.behave("/broken", Behaviour(status=200))
    prometheus.wait_for_quiet(but=HISTORY)


def test_a_log_that_fills_is_told_of_and_the_runbook_ends_it(
    up: Up, client: httpx.Client, prometheus: Prometheus
) -> None:
    account = client.headers["X-Account"]
    for number in range(80):
        states = {f"Type{place}": f"{number}".ljust(200, "x") for place in range(100)}
        body = {"@type": "StateChange", "changed": {account: states}}
        answer = client.post("/tidings/append", json=body, timeout=30)
        if answer.status_code == 503:  # full: what was asked is kept in the outbox
            break
        assert answer.status_code == 200, answer.text
    prometheus.wait_for("TidingsLogNearlyFull", "TidingsAppendsPostponed", seconds=90)

    larger = {**up.environment, "TIDINGS_LOG_BYTES_MAX": str(2**24)}
    assert tidings("migrate", environment=larger).returncode == 0
    prometheus.wait_for_quiet(but=HISTORY | {"TidingsAppendRefused"})
