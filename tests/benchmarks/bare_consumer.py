"""A bare JetStream consumer: nats-py, raw pull, that only counts. `URL COUNT` -> seconds."""

import asyncio
import contextlib
import json
import sys
import time

import uvloop
from nats.aio.client import Client
from nats.aio.msg import Msg

_BATCH = 1_000


async def count_messages(url: str, count: int) -> float:
    client = Client()
    await client.connect(url)
    inbox = client.new_inbox()
    received, credit = 0, 0
    changed = asyncio.Event()

    async def take(message: Msg) -> None:
        nonlocal received, credit
        if message.headers is None:
            received, credit = received + 1, credit - 1
            if credit <= _BATCH // 2:
                changed.set()

    await client.subscribe(inbox, cb=take, pending_msgs_limit=-1, pending_bytes_limit=-1)
    config = {"ack_policy": "none", "mem_storage": True, "name": "bare", "num_replicas": 1}
    body = json.dumps({"stream_name": "STATE", "config": config}).encode()
    await client.request("$JS.API.CONSUMER.CREATE.STATE.bare", body)
    begun = time.perf_counter()
    pull = json.dumps({"batch": _BATCH, "expires": 30_000_000_000}).encode()
    while received < count:
        if credit <= _BATCH // 2:
            credit += _BATCH
            await client.publish("$JS.API.CONSUMER.MSG.NEXT.STATE.bare", pull, reply=inbox)
        changed.clear()
        if credit > _BATCH // 2 and received < count:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), 0.2)
    seconds = time.perf_counter() - begun
    await client.close()
    return seconds


if __name__ == "__main__":
    print(uvloop.run(count_messages(sys.argv[1], int(sys.argv[2]))))
