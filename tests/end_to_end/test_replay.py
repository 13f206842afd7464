"""`tidings replay` against a running `up`: to standard output, a webhook and a test client."""

import json
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from tests.support.eventually import wait_until
from tests.support.jmap_user import JmapUser
from tests.support.jwt import make_jwt, public_jwk
from tests.support.processes import Process, Up, tidings
from tests.support.webhook_sink import Behaviour, WebhookSink, webhook_sink

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("replay") / "data")
    yield running
    try:
        assert running.terminate() == 0
    finally:
        running.close()


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as sink:
        yield sink


def replay(up: Up, *arguments: str, code: int = 0) -> tuple[list[dict[str, Any]], str]:
    """What it printed, and what it said."""
    done = tidings("replay", *arguments, environment=up.environment)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def changes(up: Up, user: JmapUser, count: int) -> list[str]:
    """States of so many changes, all in the log; they are the account's last events."""
    states = [user.change() for _ in range(count)]

    def is_there() -> bool:
        lines, _ = replay(up, "--account", user.account)
        return bool(lines) and lines[-1]["changed"].get("AddressBook") == states[-1]

    wait_until(is_there, seconds=20)
    return states


def show(up: Up, subscription: str) -> dict[str, Any]:
    return dict(up.command("subscription", "show", subscription))


def converged(up: Up, user: JmapUser, sink: WebhookSink, path: str, *types: str) -> str:
    subscription = user.subscribe(sink.url(path), types=list(types) or None)
    user.change()
    wait_until(lambda: user.told(sink), seconds=20)
    wait_until(lambda: show(up, subscription)["state"] == "converged", seconds=20)
    return subscription


def replayed(sink: WebhookSink) -> list[dict[str, dict[str, str]]]:
    return [
        json.loads(post.content)["changed"]
        for post in sink.posts
        if post.headers.get("tidings-replay") == "1"
    ]


def test_to_standard_output_and_on_from_its_cursor(up: Up) -> None:
    user = JmapUser(up, "ada")
    states = changes(up, user, 3)
    lines, said = replay(up, "--account", user.account)

    assert [line["changed"]["AddressBook"] for line in lines[-3:]] == states
    assert f"Replayed {len(lines)} events" in said
    assert f"--after {lines[-1]['cursor']}" in said
    later = user.change()
    wait_until(
        lambda: (
            [
                line["changed"]["AddressBook"]
                for line in replay(up, "--account", user.account, "--after", lines[-1]["cursor"])[0]
            ]
            == [later]
        )
    )


def test_a_dry_run_only_counts(up: Up) -> None:
    user = JmapUser(up, "dry")
    changes(up, user, 2)
    lines, said = replay(up, "--account", user.account, "--dry-run")

    assert lines == []
    assert re.search(r"Would replay [23] events", said)


def test_a_speed_stretches_the_time_between_events(up: Up) -> None:
    user = JmapUser(up, "slow")
    changes(up, user, 3)
    *_, before, first, last = replay(up, "--account", user.account)[0]
    gap = datetime.fromisoformat(last["at"]) - datetime.fromisoformat(first["at"])
    speed = max(0.001, gap.total_seconds()) / 3
    begun = time.monotonic()
    lines, _ = replay(
        up, "--account", user.account, "--after", before["cursor"], "--speed", f"{speed:.6f}"
    )

    assert lines == [first, last]
    assert time.monotonic() - begun > gap.total_seconds() / speed * 0.99


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "quick"])
def test_a_speed_that_is_none_is_refused(up: Up, speed: str) -> None:
    _, said = replay(up, f"--speed={speed}", code=3)

    assert "is none of full, original and a number" in said


def test_to_a_webhook_marked_and_without_moving_its_cursor(up: Up, sink: WebhookSink) -> None:
    user = JmapUser(up, "hook")
    subscription = converged(up, user, sink, "/a", "AddressBook")
    states = changes(up, user, 2)
    wait_until(lambda: user.told(sink) == states[-1], seconds=20)
    wait_until(lambda: show(up, subscription)["state"] == "converged", seconds=20)
    before = show(up, subscription)
    lines, said = replay(up, "--account", user.account, "--subscription", subscription)
    after = show(up, subscription)

    told = [changed[user.account]["AddressBook"] for changed in replayed(sink)]
    assert told[-2:] == states
    assert all(set(changed[user.account]) == {"AddressBook"} for changed in replayed(sink))
    assert {line["outcome"] for line in lines} == {"accepted"}
    assert f"Replayed {len(told)} events" in said
    unmoved = ("cursor", "target", "state", "failures", "attempts", "lastOutcome", "lastAttemptAt")
    assert {name: after[name] for name in unmoved} == {name: before[name] for name in unmoved}
    kinds = [attempt["kind"] for attempt in after["lastAttempts"]]
    assert kinds[: len(told)] == ["replay"] * len(told)
    assert kinds[len(told) :] == [attempt["kind"] for attempt in before["lastAttempts"]]


def test_a_long_replay_keeps_the_attempts_of_the_lane(up: Up, sink: WebhookSink) -> None:
    user = JmapUser(up, "ring")
    subscription = converged(up, user, sink, "/a")
    changes(up, user, 40)
    wait_until(lambda: show(up, subscription)["state"] == "converged", seconds=20)
    own = [one for one in show(up, subscription)["lastAttempts"] if one["kind"] != "replay"]
    replay(up, "--account", user.account, "--subscription", subscription)
    kept = show(up, subscription)["lastAttempts"]

    assert [one for one in kept if one["kind"] != "replay"] == own
    assert len([one for one in kept if one["kind"] == "replay"]) == 32
    assert len(replayed(sink)) > 40


def test_nothing_is_told_of_an_account_whose_grant_was_revoked(up: Up, sink: WebhookSink) -> None:
    owner, reader = JmapUser(up, "owner"), JmapUser(up, "reader")
    up_tidings(up, "grant", "add", owner.account, "reader", "read")
    subscription = converged(up, reader, sink, "/a")
    changes(up, owner, 2)
    lines, _ = replay(up, "--account", owner.account, "--subscription", subscription)
    assert len(lines) >= 2
    before = len(replayed(sink))

    up_tidings(up, "grant", "remove", owner.account, "reader")
    lines, said = replay(up, "--account", owner.account, "--subscription", subscription)

    assert lines == []
    assert len(replayed(sink)) == before
    assert "Replayed 0 events, left out" in said
    assert "of an account that its user does not see" in said


def test_a_revoked_credential_ends_the_subscription_and_its_replays(
    up: Up, sink: WebhookSink
) -> None:
    user = JmapUser(up, "revoked")
    subscription = converged(up, user, sink, "/a")
    up_tidings(up, "token", "revoke", user.token_id)
    _, said = replay(up, "--subscription", subscription, code=3)

    assert "no push subscription with the id" in said
    assert replayed(sink) == []


def test_an_unverified_subscription_gets_nothing(up: Up, sink: WebhookSink) -> None:
    user = JmapUser(up, "unverified")
    sink.behave("/a", Behaviour(status=500))
    subscription = user.subscribe(sink.url("/a"))
    wait_until(lambda: sink.posts, seconds=20)
    _, said = replay(up, "--subscription", subscription, code=3)

    assert "it was not verified" in said
    assert replayed(sink) == []


def test_an_endpoint_that_refuses_stops_it_and_is_not_destroyed(up: Up, sink: WebhookSink) -> None:
    """A 410 to a replay says nothing of what the lane would be answered."""
    user = JmapUser(up, "gone")
    subscription = converged(up, user, sink, "/a")
    changes(up, user, 3)
    wait_until(lambda: show(up, subscription)["state"] == "converged", seconds=20)
    sink.behave("/a", Behaviour(status=410))
    lines, said = replay(up, "--account", user.account, "--subscription", subscription, code=3)

    assert [line["outcome"] for line in lines] == ["gone"]
    assert "the endpoint did not take it: gone, status 410" in said
    assert "Replayed 0 events" in said
    assert show(up, subscription)["state"] == "converged"


def test_somebody_elses_endpoint_needs_a_flag(up: Up, sink: WebhookSink) -> None:
    """Without it nothing is dialled; the host is exempt from nothing for this command."""
    user = JmapUser(up, "third")
    subscription = converged(up, user, sink, "/a")
    elsewhere = {**up.environment, "TIDINGS_WEBHOOK_ALLOW": "192.0.2.1"}
    arguments = ("replay", "--subscription", subscription)
    connections = sink.connections
    refused = tidings(*arguments, environment=elsewhere)
    dry = tidings(*arguments, "--dry-run", environment=elsewhere)
    forced = tidings(*arguments, "--really", environment=elsewhere)

    assert refused.returncode == 3
    assert "is not ours" in refused.stderr
    assert "/a" not in refused.stderr.partition("tidings:")[2].split(" is not ours")[0]
    assert dry.returncode == 0, dry.stderr
    assert "Would replay" in dry.stderr
    assert forced.returncode == 3
    assert "address_blocked" in forced.stderr  # the address policy holds for a replay, too
    assert sink.connections == connections


def issued(directory: Path, user: str) -> tuple[str, dict[str, str]]:
    """A JWT, and the settings with which it holds."""
    key, jwks = ed25519.Ed25519PrivateKey.generate(), directory / "jwks.json"
    jwks.write_text(json.dumps({"keys": [public_jwk(key, "k1")]}))
    issuer = {"JWKS": str(jwks), "ISSUER": "https://id.example", "AUDIENCE": "tidings"}
    claims = {"iss": "https://id.example", "aud": "tidings", "exp": time.time() + 300, "sub": user}
    jwt = make_jwt(key, claims, alg="EdDSA", kid="k1")
    return jwt, {f"TIDINGS_JWT_{name}": value for name, value in issuer.items()}


def test_a_test_client_sees_what_its_own_token_may_see(up: Up, tmp_path: Path) -> None:
    ada, bob = JmapUser(up, "client-a"), JmapUser(up, "client-b")
    states = changes(up, ada, 3)
    changes(up, bob, 2)
    jwt, settings = issued(tmp_path, ada.name)
    server = Process("replay", "--listen", "0", environment={**up.environment, **settings})
    try:
        line = server.wait_for_line("Replaying at http")
        url = str(re.search(r"http\S+(?=\?)", line)[0])  # type: ignore[index]

        def read(token: str, query: str = "types=AddressBook", last: str = "") -> httpx.Response:
            headers = {"Authorization": f"Bearer {token}", "Last-Event-ID": last}
            return httpx.get(f"{url}?{query}", headers=headers, trust_env=False, timeout=30)

        answer = read(ada.token)
        told = [json.loads(body) for body in found("data", answer)]
        ids = found("id", answer)
        assert answer.headers["tidings-replay"] == "1"
        assert all(set(one["changed"]) == {ada.account} for one in told)
        assert [one["changed"][ada.account]["AddressBook"] for one in told][-3:] == states

        assert read(jwt).text == answer.text
        resumed = read(ada.token, last=ids[-2])
        assert found("id", resumed) == ids[-1:]
        assert read(ada.token, "types=*&closeafter=state").text.count("event: state") == 1
        assert read("wrong").status_code == 401
        assert read(ada.token, "types=").status_code == 400
        assert httpx.get(f"{url}/other", trust_env=False).status_code == 404
        up_tidings(up, "token", "revoke", ada.token_id)
        wait_until(lambda: read(ada.token).status_code == 401, seconds=20)
        server.interrupt()
        assert server.wait() == 0
    finally:
        server.close()


def test_one_that_waits_for_its_time_ends_when_it_is_interrupted(up: Up) -> None:
    user = JmapUser(up, "waiting")
    changes(up, user, 2)
    waiting = Process(
        "replay", "--account", user.account, "--speed", "0.00001", environment=up.environment
    )
    try:
        first = json.loads(waiting.wait_for_line("cursor"))
        waiting.interrupt()
        assert waiting.wait() == 0
        said = waiting.wait_for_line("Go on with")
        assert f"--after {first['cursor']}" in said
    finally:
        waiting.close()


def found(name: str, answer: httpx.Response) -> list[str]:
    """Values of a field of server-sent events."""
    return re.findall(rf"^{name}: (.*)$", answer.text, re.MULTILINE)


def up_tidings(up: Up, *arguments: str) -> None:
    done = tidings(*arguments, environment=up.environment)
    assert done.returncode == 0, done.stderr
