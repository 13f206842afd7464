"""`tidings events` against a running `up`: history, filters, the tail, hostile input."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.eventually import wait_until
from tests.support.jmap_user import JmapUser
from tests.support.processes import ROOT, Process, Up, environment_of_test, tidings

pytestmark = pytest.mark.end_to_end


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("events") / "data")
    yield running
    try:
        assert running.terminate() == 0
    finally:
        running.close()


def events(up: Up, *arguments: str) -> list[dict[str, Any]]:
    done = tidings("events", "--json", *arguments, environment=up.environment)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def changed(up: Up, user: JmapUser, states: list[str]) -> list[dict[str, Any]]:
    """The events of the user's account, once the log has those states."""

    def found() -> list[dict[str, Any]]:
        lines = events(up, "--account", user.account)
        told = {line["changed"].get("AddressBook") for line in lines}
        return lines if told.issuperset(states) else []

    return wait_until(found, seconds=20)


def test_each_line_says_what_changed_and_why_and_where_to_go_on(up: Up) -> None:
    user = JmapUser(up, "ada")
    state = user.change()
    last = changed(up, user, [state])[-1]

    assert last["account"] == user.account
    assert last["changed"] == {"AddressBook": state}
    assert last["cause"]["method"] == "AddressBook/set"
    assert last["cause"]["principal"] == "ada"
    assert last["cause"]["requestId"]
    assert last["cursor"].endswith(f".{last['sequence']}")
    assert last["at"].endswith("Z")


def test_filters_hold_together(up: Up) -> None:
    ada, bob = JmapUser(up, "filters-a"), JmapUser(up, "filters-b")
    states = [ada.change() for _ in range(3)]
    changed(up, bob, [bob.change()])
    lines = changed(up, ada, states)
    of_ada = lines[-3:]

    assert events(up, "--account", "filters-a") == lines  # by its name, as by its id
    assert events(up, "--principal", "filters-a", "--method", "AddressBook/set") == of_ada
    assert events(up, "--principal", "filters-a", "--type", "ContactCard") == []
    assert events(up, "--account", ada.account, "--after", of_ada[0]["cursor"]) == of_ada[1:]
    assert events(up, "--account", ada.account, "--before", of_ada[2]["cursor"]) == lines[:-1]
    assert events(up, "--account", ada.account, "--since", of_ada[1]["at"]) == of_ada[1:]
    assert events(up, "--account", ada.account, "--until", of_ada[2]["at"]) == lines[:-1]
    assert events(up, "--account", ada.account, "--since", "1h") == lines
    assert events(up, "--account", ada.account, "--last", "2") == of_ada[1:]
    assert events(up, "--after", of_ada[2]["cursor"], "--account", ada.account) == []
    assert of_ada[0] in events(up)


def test_people_get_columns(up: Up) -> None:
    user = JmapUser(up, "cy")
    state = user.change()
    changed(up, user, [state])
    done = tidings("events", "--account", "cy", environment=up.environment)

    header, *_, last = done.stdout.splitlines()
    assert header.split() == ["At", "Account", "Changed", "Cause", "Cursor"]
    assert f"AddressBook={state}" in last
    assert "AddressBook/set cy" in last


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--account", "*"), "there is no account '*'"),
        (("--account", "a.>"), "there is no account 'a.>'"),
        (("--account", "' OR true --"), "there is no account"),
        (("--after", "1.x.-1"), "is no cursor"),
        (("--after", "1.foreign.3"), "was made anew since"),
        (("--before", "x" * 10_000), "is no cursor"),
        (("--since", "yesterday"), "is no time"),
        (("--since", "99999999999999999999d"), "is no"),
        (("--until", "2026-13-01"), "is no time"),
        (("--follow", "--until", "1h"), "--follow has no end"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    up: Up, arguments: tuple[str, ...], said: str
) -> None:
    done = tidings("events", *arguments, environment=up.environment)

    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_cursor_that_the_log_has_not_reached_is_refused(up: Up) -> None:
    epoch = events(up, "--last", "1")[0]["cursor"].split(".")[1]
    done = tidings("events", "--after", f"1.{epoch}.{10**18}", environment=up.environment)

    assert done.returncode == 3
    assert "has not reached" in done.stderr


def test_following_survives_the_death_of_nats(up: Up) -> None:
    user = JmapUser(up, "follow")
    before = changed(up, user, [user.change()])[-1]
    follower = Process(
        "events",
        "--follow",
        "--json",
        "--account",
        user.account,
        "--after",
        before["cursor"],
        environment=up.environment,
    )
    try:
        first = user.change()
        follower.wait_for_line(f'"{first}"')
        os.kill(up.children()["nats"], signal.SIGKILL)
        second = user.change()
        follower.wait_for_line(f'"{second}"', seconds=60)
        third = user.change()
        follower.wait_for_line(f'"{third}"')
        lines = [json.loads(line) for line in follower.lines if line.startswith('{"cursor"')]
        assert [line["changed"]["AddressBook"] for line in lines] == [first, second, third]
        follower.interrupt()
        assert follower.wait() == 0
    finally:
        follower.close()


def test_following_begins_with_what_comes(up: Up) -> None:
    user = JmapUser(up, "now")
    old = user.change()
    changed(up, user, [old])
    follower = Process("events", "--follow", environment=up.environment)
    try:
        state = old

        def is_followed() -> bool:
            nonlocal state
            state = user.change()
            return any("AddressBook" in line for line in follower.lines)

        wait_until(is_followed, seconds=20)
        assert not any(f"AddressBook={old} " in line for line in follower.lines)
        assert follower.terminate() == 0
    finally:
        follower.close()


def test_a_reader_that_goes_away_ends_it_quietly(up: Up) -> None:
    JmapUser(up, "head")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", "events"],
            cwd=ROOT,
            env=environment_of_test(up.environment),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
