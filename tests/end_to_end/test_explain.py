"""`tidings explain` as an operator runs it: what it prints, as text and JSON, and how it ends."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.cli.embedded.ports import free_port
from tests.support.eventually import eventually
from tests.support.jmap_user import JmapUser
from tests.support.processes import Up, tidings
from tests.support.webhook_sink import Behaviour, WebhookSink, webhook_sink

pytestmark = pytest.mark.end_to_end

TOLD, WAITS, NOT_TOLD, NOT_LOOKED_UP = 0, 10, 11, 3


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("explain") / "data")
    yield running
    try:
        assert running.terminate() == 0
    finally:
        running.close()


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


def explain(up: Up, *arguments: str, **environment: str) -> tuple[int, str]:
    done = tidings("explain", *arguments, environment={**up.environment, **environment})
    return done.returncode, done.stdout if done.returncode != NOT_LOOKED_UP else done.stderr


def reasons(up: Up, *arguments: str) -> tuple[int, set[str]]:
    code, printed = explain(up, *arguments, "--json")
    found: dict[str, Any] = json.loads(printed)
    return code, {verdict["reason"] for verdict in found["verdicts"]}


async def test_an_operator_finds_out_why_a_push_did_not_arrive(up: Up, sink: WebhookSink) -> None:
    ada = JmapUser(up, "ada")
    sink.behave("/fails", Behaviour(), Behaviour(status=500, body=b"out of disk"))
    told = ada.subscribe(sink.url("/told"))
    fails = ada.subscribe(sink.url("/fails"))
    filtered = ada.subscribe(sink.url("/filtered"), types=["ContactCard"])
    await eventually(lambda: len(sink.posts) == 3)
    ada.change()
    await eventually(lambda: reasons(up, "ada", "--subscription", told) == (TOLD, {"told"}))
    await eventually(lambda: reasons(up, "ada", "--subscription", fails) == (WAITS, {"backoff"}))

    code, printed = explain(up, "ada", "--subscription", filtered)
    lines = printed.splitlines()
    assert code == NOT_TOLD
    assert lines[0] == (
        "Not sent: the subscription's types are ContactCard only; this event changed AddressBook"
    )
    assert lines[1] == f"  subscription {filtered} of ada, {sink.url('')}: filtered_by_type"
    assert re.match(
        r"  20\S+Z +committed +AddressBook of account ada \(\S+\), AddressBook/set", lines[2]
    )
    assert re.match(r"  20\S+Z +\+\d+ ms +appended +to the log, as 1\.\w+\.\d+$", lines[3])

    code, printed = explain(up, "ada", "--user", "ada")
    assert code == NOT_TOLD
    assert printed.startswith("Of 3 receivers: 1 told, 1 waiting, 1 not told\n")
    assert "the last answer was 500, an error of the endpoint: “out of disk”" in printed
    assert f"      tidings subscription probe {fails}" in printed
    assert printed.count("committed") == 1, "what all have in common is told once"
    assert "\x1b" not in printed

    _, printed = explain(up, "ada", "--subscription", told, "--json")
    event = json.loads(printed)["event"]
    assert (event["account"], event["accountName"]) == (ada.account, "ada")
    assert event["method"] == "AddressBook/set"
    _, by_cursor = explain(up, event["cursor"], "--subscription", told, "--json")
    assert json.loads(by_cursor)["event"] == event


async def test_what_cannot_be_looked_up_is_one_line(up: Up) -> None:
    code, said = explain(up, "41")
    assert code == NOT_LOOKED_UP
    assert "one of --subscription, --connection, --user" in said
    away = {"TIDINGS_NATS_URL": f"nats://127.0.0.1:{free_port()}"}
    code, said = explain(up, "41", "--user", "demo", **away)
    assert code == NOT_LOOKED_UP
    assert "no NATS server answers" in said
