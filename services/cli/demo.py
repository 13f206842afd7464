"""User `demo`, made at the first start, and what a person may copy to see Tidings work."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec

from services.cli.settings import ServerSettings
from shared.store.credentials import issue_token
from shared.store.people import NameTakenError, add_user

_NAME = "demo"
_USING = ["urn:ietf:params:jmap:core", "urn:ietf:params:jmap:contacts"]
_ANSWER_SECONDS = 20


class Demo(msgspec.Struct, frozen=True, kw_only=True):
    """What the three commands need."""

    token: str
    account_id: str
    card_id: str
    cursor: str  # of a client that has seen the card


async def make_demo(pool: asyncpg.Pool, url: str) -> Demo | None:
    """The user, a token and a contact, made as any client would; None: not the first start.

    Raises:
        httpx.HTTPError: this server does not answer.
    """
    try:
        _, account_id = await add_user(pool, _NAME)
    except NameTakenError:
        return None
    _, token = await issue_token(pool, _NAME)
    async with httpx.AsyncClient(
        headers={"Authorization": f"Bearer {token}"},
        timeout=_ANSWER_SECONDS,
        trust_env=False,
        verify=False,  # noqa: S501 - ourselves; the certificate is for other names
    ) as client:
        books = await _call(client, url, "AddressBook/get", {"accountId": account_id})
        card = {
            "name": {"full": "Ada Lovelace"},
            "addressBookIds": {books["list"][0]["id"]: True},
        }
        made = await _call(
            client, url, "ContactCard/set", {"accountId": account_id, "create": {"ada": card}}
        )
        cursor = await _cursor(client, url)
    card_id = made["created"]["ada"]["id"]
    return Demo(token=token, account_id=account_id, card_id=card_id, cursor=cursor)


async def _call(
    client: httpx.AsyncClient, url: str, method: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    request = {"using": _USING, "methodCalls": [[method, arguments, "0"]]}
    response = await client.post(f"{url}/jmap/api", json=request)
    answer: dict[str, Any] = response.raise_for_status().json()["methodResponses"][0][1]
    return answer


async def _cursor(client: httpx.AsyncClient, url: str) -> str:
    """The id of what is told to one whose own id is unknown."""
    query = {"types": "*", "closeafter": "state", "ping": "30"}
    response = await client.get(
        f"{url}/jmap/eventsource", params=query, headers={"Last-Event-ID": "none"}
    )
    lines = response.raise_for_status().text.splitlines()
    ids = [line.removeprefix("id:").strip() for line in lines if line.startswith("id:")]
    return ids[-1]


def first_greeting(demo: Demo, url: str, again: str) -> str:
    """Printed once, since the token is kept as a hash only."""
    # A certificate is hardly for the address that we listen on.
    options = "-sNk" if url.startswith("https://127.") else "-sN"
    curl = f"curl {options} -H 'Authorization: Bearer {demo.token}'"
    update = {demo.card_id: {"name/full": "Ada, changed at TIME"}}
    change = {
        "using": _USING,
        "methodCalls": [["ContactCard/set", {"accountId": demo.account_id, "update": update}, "0"]],
    }
    # Each time it is pasted it must change something.
    body = msgspec.json.encode(change).decode().replace("TIME", "'\"$(date +%T)\"'")
    stream = f"{url}/jmap/eventsource?types=*"
    return f"""
User {_NAME} was created. This is the only time its token is shown: {demo.token}
(another one: {again})
Three commands to copy, one after the other:

# 1. Read a stream; it stays open in the background (end it with: kill %1).
{curl} '{stream}&closeafter=no&ping=30' &

# 2. Change a contact; the push arrives in the stream at once.
{curl} -w '\\n' -H 'Content-Type: application/json' -d '{body}' {url}/jmap/api

# 3. See the push arrive at a client that was away and comes back with the id it had.
{curl} -H 'Last-Event-ID: {demo.cursor}' '{stream}&closeafter=state&ping=30'
"""


def later_greeting(again: str) -> str:
    """A token cannot be shown again."""
    return f"User {_NAME} exists; a new token for it: {again}"


def command_for_token(settings: ServerSettings) -> str:
    """As one types it here to get a token for user demo."""
    program = Path(sys.argv[0])
    if program.name != "tidings":
        words = [sys.executable, "-m", "services.cli"]
    elif shutil.which("tidings") == str(program):
        words = ["tidings"]
    else:
        words = [str(program)]
    data = settings.data
    place = "" if data == ServerSettings().data else f"TIDINGS_DATA={shlex.quote(str(data))} "
    return f"{place}{shlex.join([*words, 'token', 'issue', _NAME])}"
