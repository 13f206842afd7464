"""What a safe POST costs beside a bare one of aiohttp, to one sink in one run; prints JSON.

The rounds of both sides in turn, the best of each side counts. By CPU of this process, so that the
sink and whatever else runs on a small machine do not count; posts a second are told beside it.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import uvloop

from services.webhooks.answers import Outcome
from services.webhooks.messages import PushOptions, PushRequest, PushTarget, push_request
from services.webhooks.push_client import ClientLimits, client_tls, open_push_client
from shared.web_push.address_policy import parse_exemptions
from shared.web_push.content_encryption import encrypt
from shared.web_push.endpoint import read_endpoint
from shared.web_push.subscription_keys import parse_subscription_keys
from shared.web_push.vapid import VapidKey, VapidSigner
from tests.support.webhook_sink import Subscriber

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
ROUNDS = 20
POSTS = 1500
AT_ONCE = 100
PAYLOAD = json.dumps(
    {"@type": "StateChange", "changed": {f"a{n}": {"Email": f"s{n}" * 8} for n in range(9)}}
).encode()[:300]
NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEYS = parse_subscription_keys(**Subscriber().keys)
SIGNER, KEY = VapidSigner("mailto:push@example.com"), VapidKey.generate()

Post = Callable[[int], Awaitable[None]]


@contextmanager
def sinks(count: int) -> Iterator[list[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.post_sink", str(count)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        ports = json.loads(process.stdout.readline())
        yield [f"http://127.0.0.1:{port}/push/abc" for port in ports]
    finally:
        process.kill()
        process.communicate()


def made(url: str, *, is_encrypted: bool) -> PushRequest:
    target = PushTarget(
        endpoint=read_endpoint(url), keys=KEYS if is_encrypted else None, vapid_key=KEY
    )
    return push_request(PAYLOAD, target, PushOptions(ttl_seconds=60), signer=SIGNER, now=NOW)


@asynccontextmanager
async def bare(urls: list[str], *, is_encrypted: bool) -> AsyncIterator[Post]:
    """As one would write it: no judgement, no bound; the message made beforehand but its cipher."""
    requests = [made(url, is_encrypted=is_encrypted) for url in urls]
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post(number: int) -> None:
            place = number % len(urls)
            body = encrypt(PAYLOAD, KEYS) if is_encrypted else PAYLOAD
            headers = requests[place].headers
            async with session.post(urls[place], data=body, headers=headers) as response:
                await response.read()
                assert response.status == 201

        yield post


@asynccontextmanager
async def safe(urls: list[str], *, is_encrypted: bool) -> AsyncIterator[Post]:
    """What is encrypted from the payload and the URL, each time."""
    requests = [made(url, is_encrypted=False) for url in urls]
    exemptions = parse_exemptions(["127.0.0.0/8"])
    async with open_push_client(exemptions, ClientLimits(), tls=client_tls()) as client:

        async def post(number: int) -> None:
            place = number % len(urls)
            request = made(urls[place], is_encrypted=True) if is_encrypted else requests[place]
            answer = await client.post(request, may_repeat=True)
            assert answer.outcome is Outcome.ACCEPTED

        yield post


async def timed(post: Post) -> tuple[float, float]:
    """Posts a second, and microseconds of CPU of each."""
    left = iter(range(POSTS))

    async def work() -> None:
        for number in left:
            await post(number)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return POSTS / wall, cpu / POSTS * 1e6


async def compare(urls: list[str], *, is_encrypted: bool) -> dict[str, float]:
    async with (
        bare(urls, is_encrypted=is_encrypted) as bare_post,
        safe(urls, is_encrypted=is_encrypted) as safe_post,
    ):
        for post in (bare_post, safe_post):
            await timed(post)
        rounds = [(await timed(bare_post), await timed(safe_post)) for _ in range(ROUNDS)]
    theirs, ours = zip(*rounds, strict=True)
    bare_us, ours_us = (min(cpu for _, cpu in side) for side in (theirs, ours))
    bare_rate, ours_rate = (max(rate for rate, _ in side) for side in (theirs, ours))
    return {
        "bare_per_second": bare_rate,
        "ours_per_second": ours_rate,
        "rate_ratio": ours_rate / bare_rate,
        "bare_cpu_us": bare_us,
        "ours_cpu_us": ours_us,
        "cpu_ratio": bare_us / ours_us,
    }


@pytest.mark.parametrize("origins", [1, 100])
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_safe_post_costs_little_more_than_a_bare_one(origins: int, *, is_encrypted: bool) -> None:
    with sinks(origins) as urls:
        found = uvloop.run(compare(urls, is_encrypted=is_encrypted))
    print(json.dumps({f"post_{origins}_{'encrypted' if is_encrypted else 'plain'}": found}))

    assert found["cpu_ratio"] >= 0.85
