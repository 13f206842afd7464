"""TIDINGS_SECRET_KEY and the VAPID key, by the command line and through whole processes."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.cli.embedded.ports import free_port
from tests.support.eventually import eventually, wait_until
from tests.support.processes import Process, Up, tidings
from tests.support.webhook_sink import Subscriber

pytestmark = pytest.mark.end_to_end

COULD_NOT_START = 3
VAPID = "urn:ietf:params:jmap:webpush-vapid"
USING = ["urn:ietf:params:jmap:core"]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("keys") / "data")
    yield running
    try:
        assert running.terminate() == 0
    finally:
        running.close()


@pytest.fixture
def beside(up: Up) -> Iterator[str]:
    """The URL of a dispatcher that finds servers and secret in the directory of `up`."""
    port = free_port()
    environment = {
        "TIDINGS_DATA": str(up.data),
        "TIDINGS_PORT": str(port),
        "TIDINGS_WEBHOOK_ALLOW": "127.0.0.0/8",
    }
    process = Process("dispatcher", environment=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_ready(url), seconds=30, what=process.output)
        yield url
        assert process.terminate() == 0
    finally:
        process.close()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def told_key(url: str, token: str) -> str:
    headers = {"Authorization": f"Bearer {token}"}
    session = httpx.get(f"{url}/jmap/session", headers=headers, trust_env=False).json()
    return str(session["capabilities"][VAPID]["applicationServerKey"])


def push_set(url: str, token: str, **arguments: object) -> dict[str, dict[str, object]]:
    response = httpx.post(
        f"{url}/jmap/api",
        headers={"Authorization": f"Bearer {token}"},
        json={"using": USING, "methodCalls": [["PushSubscription/set", arguments, "0"]]},
        trust_env=False,
    )
    answer: dict[str, dict[str, object]] = response.json()["methodResponses"][0][1]
    return answer


async def test_a_rotation_reaches_every_dispatcher(up: Up, beside: str) -> None:
    """V-01, V-03: the one in `up` and the one beside it."""
    token = up.command("token", "issue", "demo")["token"]
    [active] = keys(up)
    assert told_key(up.url, token) == told_key(beside, token) == active["applicationServerKey"]
    given = {"deviceClientId": "d", "url": "https://127.0.0.1:1/a", "keys": Subscriber().keys}
    assert push_set(beside, token, create={"k": given})["created"]

    rotated = up.command("vapid", "rotate", "--grace", "0s")

    assert rotated["previousId"] == active["id"]
    key = rotated["applicationServerKey"]
    await eventually(lambda: told_key(up.url, token) == key, seconds=2)
    await eventually(lambda: told_key(beside, token) == key, seconds=2)
    # Without a grace the old key goes, after what was made under it.
    await eventually(lambda: [item["id"] for item in keys(up)] == [rotated["id"]], seconds=20)
    assert keys(up)[0]["subscriptions"] == "0"


def test_a_person_is_shown_the_key(up: Up) -> None:
    shown = tidings("vapid", "show", environment=up.environment)
    assert "Active key" in shown.stdout
    assert keys(up)[0]["applicationServerKey"] in shown.stdout


def test_revoking_a_token_tells_what_ended(up: Up, beside: str) -> None:
    """P-20."""
    token = up.command("token", "issue", "demo")
    given = {"deviceClientId": "d", "url": "https://127.0.0.1:1/a"}
    assert push_set(beside, token["token"], create={"k": given})["created"]
    revoked = tidings("token", "revoke", token["id"], environment=up.environment)
    assert (revoked.returncode, revoked.stderr) == (0, "")
    assert keys(up)[0]["subscriptions"] == "0"


@pytest.mark.parametrize("secret_key", ["", "weak"])
def test_without_a_good_secret_key_it_is_said_how_to_make_one(
    up: Up, tmp_path: Path, secret_key: str
) -> None:
    environment = {
        "TIDINGS_DATA": str(tmp_path),
        "TIDINGS_NATS_URL": up.running.nats_url,
        "TIDINGS_POSTGRES_URL": up.running.postgres_url,
        "TIDINGS_PORT": "0",
        "TIDINGS_SECRET_KEY": secret_key,
    }
    refused = tidings("dispatcher", environment=environment)
    assert refused.returncode == COULD_NOT_START
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "TIDINGS_SECRET_KEY" in refused.stderr
    assert "openssl rand -hex 32" in refused.stderr


def test_another_secret_key_is_refused(up: Up) -> None:
    environment = {**up.environment, "TIDINGS_SECRET_KEY": secrets.token_hex(32)}
    refused = tidings("dispatcher", environment={**environment, "TIDINGS_PORT": "0"})
    assert refused.returncode == COULD_NOT_START
    assert "tidings vapid rotate --grace 0s" in refused.stderr


def test_a_grace_must_be_a_time(up: Up) -> None:
    refused = tidings("vapid", "rotate", "--grace", "soon", environment=up.environment)
    assert refused.returncode == COULD_NOT_START
    assert "--grace soon is not a time" in refused.stderr


def keys(up: Up) -> list[dict[str, str]]:
    shown = tidings("vapid", "show", "--json", environment=up.environment)
    assert shown.returncode == 0, shown.stderr
    found: list[dict[str, str]] = json.loads(shown.stdout)["keys"]
    return found
