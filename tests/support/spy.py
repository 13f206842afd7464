"""A connection to NATS with the credential of a process, which tries what it may not."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.client import Client

from tests.support.deployment import Secrets
from tests.support.eventually import PATIENCE, eventually

_REFUSED_SECONDS = 5.0


class Spy:
    """A connection with a user's credential and a client of others, and what it is refused."""

    def __init__(self, client: Client, refusals: list[str]) -> None:
        self.client = client
        self.refusals = refusals

    async def is_refused(self, kind: str, subject: str) -> bool:
        """`kind` is "publish" or "subscription"."""
        wanted = f'permissions violation for {kind} to "{subject}"'.lower()
        await eventually(
            lambda: any(wanted in refusal for refusal in self.refusals),
            seconds=_REFUSED_SECONDS,
            what=f"{wanted}, but {self.refusals}",
        )
        return True

    async def api(self, subject: str, body: Any = None) -> dict[str, Any]:
        """A call of JetStream's API that is allowed."""
        content = b"" if body is None else json.dumps(body).encode()
        answer = await self.client.request(f"$JS.API.{subject}", content, timeout=5 * PATIENCE)
        decoded: dict[str, Any] = json.loads(answer.data)
        return decoded


@asynccontextmanager
async def spying(secrets: Secrets, user: str) -> AsyncIterator[Spy]:
    refusals: list[str] = []

    async def remember(error: Exception) -> None:
        refusals.append(str(error).lower())

    client = Client()
    await client.connect(secrets.nats_url(user), inbox_prefix=f"_INBOX.{user}", error_cb=remember)
    try:
        yield Spy(client, refusals)
    finally:
        await client.close()
