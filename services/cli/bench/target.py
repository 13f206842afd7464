"""What is measured: a `tidings up` of its own in a temporary directory, or the one that runs."""

import asyncio
import secrets
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import msgspec

from services.cli.embedded.child import launch_command
from services.cli.embedded.data_directory import DataDirectory, Running
from services.cli.settings import ServerSettings, servers_in_use, settings_of
from shared.log.open_log import open_writable_log
from shared.log.removals import AccountRemovals
from shared.runtime.errors import CouldNotStartError
from shared.runtime.settings import PREFIX
from shared.store.credentials import issue_token
from shared.store.people import add_account, add_grant, add_user, remove_user
from shared.store.pool import open_pool
from shared.store.removals import begin_removal

_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.1
_LAST_WORDS = 500  # characters
CONNECTIONS_OF_USER = 100  # as many as a gateway allows each, unless it is set otherwise


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """`pids` of what runs on this machine: tidings, nats, postgres."""

    kind: str
    url: str
    nats_url: str
    postgres_url: str
    pids: Mapping[str, int]


class Cast(msgspec.Struct, frozen=True, kw_only=True):
    """Users who all see one account, and accounts to append to; gone afterwards."""

    account_id: str
    append_ids: list[str]
    tokens: list[str]

    def token(self, number: int) -> str:
        """For the connection of this number, so that no user has too many."""
        return self.tokens[number // CONNECTIONS_OF_USER]


@asynccontextmanager
async def private_target(environ: Mapping[str, str]) -> AsyncIterator[Target]:
    """Ends with the block, and with it all that it kept. Raises CouldNotStartError."""
    with tempfile.TemporaryDirectory(prefix="tidings-bench-") as folder:
        data = Path(folder) / "data"
        kept = {name: value for name, value in environ.items() if not name.startswith(PREFIX)}
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *launch_command((sys.executable, "-m", "services.cli", "up"), signal.SIGTERM, None),
                env={**kept, f"{PREFIX}DATA": str(data), f"{PREFIX}PORT": "0"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            running = await _ready(process, data, log)
            yield _target("private", running, data)
        finally:
            await _stop(process)


def running_target(environ: Mapping[str, str], url: str | None) -> Target:
    """What other commands would find, too. Raises CouldNotStartError."""
    settings = settings_of(environ, ServerSettings)
    nats_url, postgres_url = servers_in_use(settings)
    running = DataDirectory(settings.data).running()
    if running is not None and running.postgres_url == postgres_url:
        found = _target("running", running, settings.data)
        return msgspec.structs.replace(found, url=url or found.url)
    if url is None:
        raise CouldNotStartError("Where does it serve? Say --url, such as http://127.0.0.1:8080.")
    return Target(kind="running", url=url, nats_url=nats_url, postgres_url=postgres_url, pids={})


@asynccontextmanager
async def prepared(target: Target, connections: int, *, appended: int) -> AsyncIterator[Cast]:
    """Users for so many connections, an account that they share, and `appended` others."""
    async with open_pool(target.postgres_url, connections_max=2) as pool:
        name = f"bench-{secrets.token_hex(4)}"
        account_id = await add_account(pool, name)
        account_ids, user_ids, tokens = [account_id], [], []
        try:
            for number in range(-(-connections // CONNECTIONS_OF_USER)):
                user = f"{name}-{number}"
                user_id, own_account = await add_user(pool, user)
                user_ids.append(user_id)
                account_ids.append(own_account)
                await add_grant(pool, account_id, user, "write")
                _, token = await issue_token(pool, user, ["jmap", "append"])
                tokens.append(token)
            append_ids = [await add_account(pool, name) for _ in range(appended)]
            account_ids += append_ids
            yield Cast(account_id=account_id, append_ids=append_ids, tokens=tokens)
        finally:
            if target.kind != "private":
                await _remove(target, pool, account_ids, user_ids)


async def _remove(
    target: Target, pool: asyncpg.Pool, account_ids: list[str], user_ids: list[str]
) -> None:
    async with open_writable_log(target.nats_url, pool, name="bench") as log:
        removals = AccountRemovals(pool, log.eraser)
        for account_id in account_ids:
            begun = await begin_removal(pool, account_id)
            await removals.end(account_id, begun.removed_at)
    for user_id in user_ids:
        await remove_user(pool, user_id)


def _target(kind: str, running: Running, data: Path) -> Target:
    pids = {"tidings": running.pid}
    for name, path in (("nats", "nats.pid"), ("postgres", "postgres/postmaster.pid")):
        try:
            pids[name] = int((data / path).read_text(encoding="utf-8").partition("\n")[0])
        except (OSError, ValueError):  # that server is not embedded
            continue
    return Target(
        kind=kind,
        url=running.url,
        nats_url=running.nats_url,
        postgres_url=running.postgres_url,
        pids=pids,
    )


async def _ready(process: asyncio.subprocess.Process, data: Path, log: Path) -> Running:
    try:
        async with asyncio.timeout(_READY_SECONDS), aiohttp.ClientSession() as http:
            while process.returncode is None:
                running = DataDirectory(data).running()
                if running is not None and await _is_ready(http, running.url):
                    return running
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        pass
    raise CouldNotStartError(f"The Tidings to be measured did not start:\n{_last_words(log)}")


def _last_words(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:]


async def _is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/health/ready") as response:
            return response.ok
    except aiohttp.ClientError:
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
