"""`tidings account remove`, seen from outside and in the files of the servers (docs/adr/0022)."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import asyncpg
import httpx
import msgspec
import pytest

from tests.support.eventually import eventually
from tests.support.jmap_user import JmapUser
from tests.support.processes import Up, tidings
from tests.support.secrets_on_disk import forms_of, found_in

pytestmark = pytest.mark.end_to_end

COULD_NOT_START = 3
WHO = b'"principal":"eve"'  # what the log has of who changed something
# What an account's content can be in.
TABLES = ("accounts", "grants", "type_states", "records", "outbox", "blobs", "blob_pieces")


@contextmanager
def running_up(folder: Path) -> Iterator[Up]:
    up = Up(folder / "data")
    try:
        yield up
    finally:
        up.close()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running_up(tmp_path_factory.mktemp("removal")) as running:
        yield running


def upload(up: Up, user: JmapUser, content: bytes) -> None:
    response = httpx.post(
        f"{up.url}/jmap/upload/{user.account}/",
        content=content,
        headers={"Authorization": f"Bearer {user.token}"},
        trust_env=False,
    )
    assert response.status_code == 201


def live(up: Up, user: JmapUser) -> list[bytes]:
    """Fill the account; what must not be found any more."""
    names = [secrets.token_hex(16).encode() for _ in range(4)]
    in_card, in_note, in_small, in_large = names
    book = user.call("AddressBook/get", {"accountId": user.account})["list"][0]["id"]
    card = {
        "name": {"full": in_card.decode()},
        "notes": {"n": {"note": in_note.decode()}},
        "addressBookIds": {book: True},
    }
    created = user.call("ContactCard/set", {"accountId": user.account, "create": {"k": card}})
    assert created["created"]
    # Random, as PostgreSQL compresses what repeats itself.
    upload(up, user, in_small)
    upload(up, user, secrets.token_bytes(300_000) + in_large + secrets.token_bytes(300_000))
    return names


async def vacuum(up: Up) -> None:
    """What the tables have, and nothing else, into new files."""
    connection = await asyncpg.connect(up.running.postgres_url)
    try:
        for table in TABLES:
            await connection.execute(f"VACUUM FULL {table}")
    finally:
        await connection.close()


async def test_nothing_of_a_removed_account_is_left_in_the_files_of_the_servers(
    tmp_path: Path,
) -> None:
    """But for the WAL, whose old segments PostgreSQL keeps for their room, and until a vacuum."""
    with ExitStack() as stack:
        up = stack.enter_context(running_up(tmp_path))
        tables, log = [up.data / "postgres" / "base"], [up.data / "nats"]
        user = JmapUser(up, "eve")
        needles = live(up, user)
        assert up.terminate() == 0  # all is written
        assert await asyncio.to_thread(found_in, tables, needles) == set(needles)
        assert await asyncio.to_thread(found_in, log, [WHO])

        up = stack.enter_context(running_up(tmp_path))
        removed = up.command("account", "remove", "eve", "--yes")
        assert removed == {"account": user.account, "name": "eve", "log": "erased"}
        await vacuum(up)
        # The log never had any content; now it does not even have who changed what, and when.
        assert await asyncio.to_thread(found_in, log, [*needles, WHO]) == set()
        events = tidings("events", "--json", environment=up.environment).stdout.splitlines()
        of_it = [it for it in map(msgspec.json.decode, events) if it["account"] == user.account]
        assert [(it["changed"], it["removed"]) for it in of_it] == [({}, True)]
        assert up.terminate() == 0
        forms = [form for needle in needles for form in forms_of(needle)]
        assert await asyncio.to_thread(found_in, tables, forms) == set()


async def test_it_asks_or_wants_yes_and_an_account_that_there_is(up: Up) -> None:
    up.command("account", "add", "team")
    unasked = tidings("account", "remove", "team", environment=up.environment)
    assert unasked.returncode == COULD_NOT_START
    assert "say --yes" in unasked.stderr
    unknown = tidings("account", "remove", "nowhere", "--yes", environment=up.environment)
    assert unknown.returncode == COULD_NOT_START
    assert "there is no account 'nowhere'." in unknown.stderr

    assert up.command("account", "remove", "team", "--yes")["log"] == "erased"
    again = up.command("account", "remove", "team", "--yes")  # as after a crash
    assert again["log"] == "erased"
    refused = tidings("grant", "add", "team", "demo", "read", environment=up.environment)
    assert "there is no account 'team'." in refused.stderr


async def test_while_nats_is_away_the_events_are_left_to_a_dispatcher(up: Up) -> None:
    """The command cannot reach it; the dispatcher in `up` can."""
    user = JmapUser(up, "mallory")
    environment = {**up.environment, "TIDINGS_NATS_URL": "nats://127.0.0.1:1"}
    removed = tidings("account", "remove", user.account, "--yes", environment=environment)
    assert removed.returncode == 0, removed.stderr
    assert "later" in removed.stdout
    assert "a dispatcher will erase" in removed.stderr

    def is_ended() -> bool:
        events = tidings("events", "--json", environment=up.environment).stdout.splitlines()
        of_it = [it for it in map(msgspec.json.decode, events) if it["account"] == user.account]
        return [it.get("removed") for it in of_it] == [True]

    await eventually(is_ended, seconds=30)
