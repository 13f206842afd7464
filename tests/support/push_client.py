"""A deliverer's HTTP client, and requests for it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from services.webhooks.dialling import LookUp
from services.webhooks.messages import PushRequest
from services.webhooks.push_client import (
    ClientLimits,
    PushClient,
    client_tls,
    open_push_client,
)
from shared.web_push.address_policy import parse_exemptions
from shared.web_push.endpoint import read_endpoint
from tests.support.eventually import PATIENCE

# Addresses of this process's own, so that two runs of the tests may both have a sink on port 8443.
OWN_NET = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
LOOPBACK = ("localhost", "127.0.0.0/8", "::1/128")
LIMITS = ClientLimits(deadline_seconds=5.0 * PATIENCE, addresses_remembered_seconds=0)


class SettableClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds


@asynccontextmanager
async def push_client(
    *allowed: str,
    authority: Path | None = None,
    limits: ClientLimits = LIMITS,
    look_up: LookUp | None = None,
    clock: SettableClock | None = None,
) -> AsyncIterator[PushClient]:
    """`allowed`: as in TIDINGS_WEBHOOK_ALLOW."""
    tls = client_tls(authority)
    exemptions = parse_exemptions(allowed)
    async with open_push_client(
        exemptions, limits, tls=tls, look_up=look_up, clock=clock
    ) as client:
        yield client


def request_to(url: str, body: bytes = b"{}") -> PushRequest:
    headers = {"Content-Type": "application/json", "TTL": "60"}
    return PushRequest(endpoint=read_endpoint(url), headers=headers, body=body)


def names(**addresses: Sequence[str]) -> Callable[[str], Awaitable[Sequence[str]]]:
    """A resolver that knows `NAME.example` for each NAME."""

    async def look_up(host: str) -> Sequence[str]:
        name, _, domain = host.partition(".")
        assert domain == "example"
        return addresses[name]

    return look_up
