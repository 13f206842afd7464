"""A webhook from the outside: made over JMAP, looked at and cured by the command line."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.jmap_user import JmapUser
from tests.support.processes import Up, tidings
from tests.support.webhook_sink import Behaviour, WebhookSink, webhook_sink

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("subscriptions") / "data")
    yield running
    try:
        assert running.terminate() == 0
    finally:
        running.close()


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


def show(up: Up, subscription: str) -> dict[str, Any]:
    return dict(up.command("subscription", "show", subscription))


def run(up: Up, *arguments: str) -> None:
    done = tidings("subscription", *arguments, environment=up.environment)
    assert done.returncode == 0, done.stderr


async def test_an_operator_sees_why_a_push_did_not_arrive_and_resumes_it(
    up: Up, sink: WebhookSink
) -> None:
    client = JmapUser(up, "ada")
    subscription = client.subscribe(sink.url("/secret"))
    await eventually(lambda: show(up, subscription)["state"] == "converged")
    sink.behave("/secret", Behaviour(status=500, body=b"out of disk"))
    state = client.change()
    await eventually(lambda: show(up, subscription)["state"] == "failing")
    shown = show(up, subscription)
    assert shown["origin"] == sink.url("")
    assert "/secret" not in json.dumps(shown)
    last, *_, first = shown["lastAttempts"]
    assert (last["kind"], last["outcome"], last["status"]) == ("push", "server_error", 500)
    assert last["answer"] == "out of disk"
    assert (first["kind"], first["outcome"]) == ("verification", "accepted")
    listed = up.command("subscription", "list")["subscriptions"]
    assert subscription in json.dumps(listed)

    sink.behave("/secret", Behaviour())
    await eventually(lambda: _probed(up, subscription), seconds=20)
    assert client.told(sink) == state


async def test_a_paused_subscription_is_told_what_it_missed_once_it_is_resumed(
    up: Up, sink: WebhookSink
) -> None:
    client = JmapUser(up, "bob")
    subscription = client.subscribe(sink.url("/a"))
    await eventually(lambda: show(up, subscription)["state"] == "converged")
    run(up, "pause", subscription)
    before = client.told(sink)
    state = client.change()
    await eventually(lambda: show(up, subscription)["target"] > show(up, subscription)["cursor"])
    assert show(up, subscription)["state"] == "paused"
    assert client.told(sink) == before

    run(up, "resume", subscription)
    await eventually(lambda: client.told(sink) == state)
    posts = len(sink.posts)
    run(up, "resync", subscription)
    await eventually(lambda: len(sink.posts) > posts)
    assert client.told(sink) == state


def test_an_unknown_subscription_is_said_to_be_unknown(up: Up) -> None:
    done = tidings("subscription", "show", "pnone", environment=up.environment)

    assert done.returncode == 3
    assert "no push subscription with the id 'pnone'" in done.stderr


def test_people_get_tables(up: Up, sink: WebhookSink) -> None:
    subscription = JmapUser(up, "cy").subscribe(sink.url("/a"))

    listed = tidings("subscription", "list", environment=up.environment)
    shown = tidings("subscription", "show", subscription, environment=up.environment)

    assert "Behind since" in listed.stdout
    assert subscription in shown.stdout
    assert re.search("types +all", shown.stdout)
    assert re.search("isEncrypted +no", shown.stdout)


def _probed(up: Up, subscription: str) -> bool:
    run(up, "probe", subscription)
    return bool(show(up, subscription)["state"] == "converged")
