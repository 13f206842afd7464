"""Users, tokens, accounts and grants by the command line, seen through HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.eventually import eventually
from tests.support.processes import Up, tidings

pytestmark = pytest.mark.end_to_end

COULD_NOT_START = 3


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("admin") / "data")
    yield running
    try:
        assert running.terminate() == 0
    finally:
        running.close()


@pytest.fixture
def http(up: Up) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=up.url, trust_env=False) as client:
        yield client


def session(http: httpx.Client, token: str) -> httpx.Response:
    return http.get("/jmap/session", headers={"Authorization": f"Bearer {token}"})


def accounts(http: httpx.Client, token: str) -> dict[str, Any]:
    found: dict[str, Any] = session(http, token).json()["accounts"]
    return found


def test_a_user_has_an_account_and_a_token_opens_it(up: Up, http: httpx.Client) -> None:
    user = up.command("user", "add", "ada")
    assert set(user) == {"user", "account"}
    token = up.command("token", "issue", "ada")
    assert set(token) == {"id", "token"}
    assert session(http, token["token"]).json()["username"] == "ada"
    assert set(accounts(http, token["token"])) == {user["account"]}


async def test_a_revoked_token_is_refused_at_once(up: Up, http: httpx.Client) -> None:
    up.command("user", "add", "bob")
    token = up.command("token", "issue", "bob", "--ttl", "30d", "--scope", "jmap,operate")
    assert session(http, token["token"]).status_code == 200
    assert tidings("token", "revoke", token["id"], environment=up.environment).returncode == 0
    await eventually(lambda: session(http, token["token"]).status_code == 401, seconds=3)


async def test_a_grant_shows_an_account_until_it_is_removed(up: Up, http: httpx.Client) -> None:
    up.command("user", "add", "cy")
    token = up.command("token", "issue", "cy")["token"]
    shared = up.command("account", "add", "team")["account"]
    assert shared not in accounts(http, token)
    up.command("grant", "add", "team", "cy", "read")
    await eventually(lambda: accounts(http, token).get(shared, {}).get("isReadOnly") is True)
    up.command("grant", "add", shared, "cy", "write")
    await eventually(lambda: accounts(http, token)[shared]["isReadOnly"] is False)
    removed = tidings("grant", "remove", "team", "cy", environment=up.environment)
    assert removed.returncode == 0
    await eventually(lambda: shared not in accounts(http, token))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("user", "add", "demo"), "there is a user 'demo' already."),
        (("user", "add", " "), "a name is 1 to 255 printable characters."),
        (("user", "add", "a\nb"), "a name is 1 to 255 printable characters."),
        (("user", "add", "a" * 256), "a name is 1 to 255 printable characters."),
        (("token", "issue", "nobody"), "there is no user 'nobody'."),
        (("token", "issue", "demo", "--scope", "root"), "unknown scope: root."),
        (("token", "issue", "demo", "--scope", ","), "a token needs a scope"),
        (("token", "issue", "demo", "--ttl", "soon"), "--ttl soon is not a time"),
        (("token", "issue", "demo", "--ttl", "999999d9"), "--ttl 999999d9 is not a time"),
        (("token", "revoke", "none"), "no token with the id 'none'."),
        (("token", "list", "nobody"), "there is no user 'nobody'."),
        (("grant", "list"), "say of whom: --account, --user, or both."),
        (("grant", "add", "nowhere", "demo", "read"), "there is no account 'nowhere'."),
        (("grant", "remove", "nowhere", "demo"), "there is no account 'nowhere'."),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    up: Up, arguments: tuple[str, ...], says: str
) -> None:
    refused = tidings(*arguments, environment=up.environment)
    assert refused.returncode == COULD_NOT_START
    assert len(refused.stderr.strip().splitlines()) == 1
    assert says in refused.stderr


def test_an_unknown_role_is_a_usage_error(up: Up) -> None:
    refused = tidings("grant", "add", "a", "demo", "god", environment=up.environment)
    assert refused.returncode == 2
    assert "god" in refused.stderr


def test_people_are_shown_the_same_facts(up: Up) -> None:
    shown = tidings("token", "issue", "demo", environment=up.environment)
    assert shown.returncode == 0
    assert "Token of demo" in shown.stdout


def test_who_and_what_there_is_can_be_listed(up: Up) -> None:
    """As one must, to revoke a token whose id nobody noted."""
    home = up.command("user", "add", "grace hopper")
    kept, gone = (
        up.command("token", "issue", "grace hopper", *ttl) for ttl in ((), ("--ttl", "1d"))
    )
    assert tidings("token", "revoke", gone["id"], environment=up.environment).returncode == 0
    team = up.command("account", "add", "navy")["account"]
    up.command("grant", "add", "navy", "grace hopper", "write")

    [user] = listed(up, "user", "grace")
    assert (user["name"], user["user"], user["account"]) == ("grace hopper", *home.values())
    assert listed(up, "user", "nobody") == []
    tokens = listed(up, "token", "grace hopper")
    assert [(it["id"], it["state"], it["scopes"]) for it in tokens] == [
        (gone["id"], "revoked", ["jmap"]),
        (kept["id"], "valid", ["jmap"]),
    ]
    assert tokens[0]["expiresAt"]
    assert tokens[1]["expiresAt"] is None
    grants = listed(up, "grant", "--user", "grace hopper")
    assert [(it["accountName"], it["role"]) for it in grants] == [
        ("grace hopper", "owner"),
        ("navy", "write"),
    ]
    [by_account] = listed(up, "grant", "--account", team)
    assert by_account == grants[1]


def listed(up: Up, kind: str, *arguments: str) -> list[dict[str, Any]]:
    """As programs see it; people get the same number of lines, below a head."""
    done = tidings(kind, "list", *arguments, "--json", environment=up.environment)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout).values()
    shown = tidings(kind, "list", *arguments, environment=up.environment)
    assert len(shown.stdout.strip().splitlines()) == 1 + len(found)
    result: list[dict[str, Any]] = found
    return result


def test_the_log_is_made_anew_and_migrations_are_at_rest(up: Up) -> None:
    rebuilt = tidings("log", "rebuild", environment=up.environment)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "The log was made anew" in rebuilt.stdout
    migrated = tidings("migrate", environment=up.environment)
    assert migrated.returncode == 0, migrated.stderr
    assert "none were missing" in migrated.stdout


def test_what_sets_up_and_replays_tells_programs_in_json(up: Up, tmp_path: Path) -> None:
    migrated = tidings("migrate", "--json", environment=up.environment)
    assert json.loads(migrated.stdout) == {"migrationsApplied": [], "streamsChanged": False}
    rebuilt = tidings("log", "rebuild", "--json", environment=up.environment)
    assert set(json.loads(rebuilt.stdout)) == {"epoch", "lastSequence"}
    made = tidings("secrets", str(tmp_path / "secrets"), "--json")
    named = json.loads(made.stdout)
    assert named["directory"] == str(tmp_path / "secrets")
    assert set(named["files"]) == {path.name for path in (tmp_path / "secrets").iterdir()}
    replayed = tidings("replay", "--account", "demo", "--json", environment=up.environment)
    assert replayed.returncode == 0, replayed.stderr
    assert all(json.loads(line) for line in replayed.stdout.splitlines())


def test_without_a_running_tidings_one_is_asked_for(tmp_path: Path) -> None:
    refused = tidings("user", "add", "x", environment={"TIDINGS_DATA": str(tmp_path)})
    assert refused.returncode == COULD_NOT_START
    assert f"No tidings runs on {tmp_path}" in refused.stderr
