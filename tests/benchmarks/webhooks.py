"""Processes to measure deliveries with: `python -m tests.benchmarks.webhooks KIND JSON`.

`sink` prints its ports, then answers each line of standard input with what it got since the last:
posts, and seconds from the first to the last. `bare` posts as fast as a plain client can. `worker`
is a deliverer. Both begin on a line of standard input, and print the CPU seconds they took on the
next.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, cast

import aiohttp
import uvloop

from services.webhooks.app import WebhookResources, Webhooks, open_client
from services.webhooks.settings import WebhookSettings
from shared.log.open_log import open_shared_log
from shared.runtime.clock import SystemClock
from shared.runtime.garbage import collect_garbage_seldom
from shared.runtime.logs import configure_logs
from shared.runtime.metrics import Metrics
from shared.store.pool import open_pool
from shared.web_push.content_encryption import encrypt
from shared.web_push.sealing import Vault
from shared.web_push.settings import WebhookPolicySettings
from shared.web_push.subscription_keys import parse_subscription_keys
from tests.support.webhook_sink import Subscriber
from tests.support.webhooks import LOOPBACK

PAYLOAD = json.dumps(
    {"@type": "StateChange", "changed": {"a" * 22: {"Email": "s1", "Mailbox": "s1"}}}
).encode()
HEADERS = {  # as long as ours
    "Content-Type": "application/json",
    "TTL": "604800",
    "Urgency": "normal",
    "Authorization": f"vapid t={'x' * 250}, k={'y' * 87}",
}
_ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


class _Sink(asyncio.Protocol):
    """As little as an endpoint can do: requests are counted, and answered."""

    def __init__(self, arrived: Callable[[], None]) -> None:
        self._arrived = arrived
        self._buffer = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).lower()
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            del self._buffer[: end + 4 + length]
            self._arrived()
            self._transport.write(_ANSWER)


async def sink(origins: int) -> None:
    times: list[float] = []
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(
            lambda: _Sink(lambda: times.append(time.monotonic())), "127.0.0.1", 0, backlog=1024
        )
        for _ in range(origins)
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    while await _line():
        took = times[-1] - times[0] if times else 0.0
        print(json.dumps([len(times), took]), flush=True)
        times.clear()


async def bare(ports: list[int], count: int, *, is_encrypted: bool, at_once: int) -> None:
    """So many requests, `at_once` under way, to all ports in turn; encrypted one by one."""
    keys = parse_subscription_keys(**Subscriber().keys)
    waiting = (f"http://127.0.0.1:{ports[n % len(ports)]}/w{n}" for n in range(count))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post() -> None:
            for url in waiting:
                body = encrypt(PAYLOAD, keys) if is_encrypted else PAYLOAD
                async with session.post(url, data=body, headers=HEADERS) as answer:
                    await answer.read()

        await _line()
        began = time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(at_once):
                tasks.create_task(post())
        print(json.dumps(time.process_time() - began), flush=True)


async def worker(dsn: str, nats_url: str, secret_key: str, settings: dict[str, Any]) -> None:
    # Its lines are made, as in production.
    configure_logs("info", file_descriptor=os.open(os.devnull, os.O_WRONLY))
    draining = asyncio.Event()
    policy, chosen = WebhookPolicySettings(allow=LOOPBACK), WebhookSettings(**settings)
    async with AsyncExitStack() as stack:
        webhooks = Webhooks(
            WebhookResources(
                pool=await stack.enter_async_context(open_pool(dsn)),
                log=await stack.enter_async_context(open_shared_log(nats_url, name="worker")),
                vault=Vault(secret_key),
                client=await stack.enter_async_context(open_client(chosen, policy, SystemClock())),
                clock=SystemClock(),
                metrics=Metrics(),
                policy=policy,
                settings=chosen,
            )
        )
        await _line()
        collect_garbage_seldom()
        began = time.process_time()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(webhooks.run(draining))
            await _line()
            print(json.dumps(time.process_time() - began), flush=True)
            draining.set()


async def _line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    os.setpgrp()
    work: Any = {"sink": sink, "bare": bare, "worker": worker}[sys.argv[1]]
    uvloop.run(work(**json.loads(sys.argv[2])))
