"""A gateway that is to end says so to its proxy first, serves on for a while, and then drains."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from services.cli.embedded.ports import free_port
from tests.support.eventually import PATIENCE, eventually
from tests.support.processes import Process, Up
from tests.support.wire import EventSourceClient

pytestmark = pytest.mark.end_to_end

NOTHING = "/jmap/eventsource?types=Email&closeafter=no&ping=0"
UNREADY_SECONDS = 2.0


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(tmp_path)
    yield running
    running.close()


async def readiness(port: int) -> int:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            answer = await http.get(f"http://127.0.0.1:{port}/health/ready")
        except httpx.TransportError:
            return 0
    return answer.status_code


async def test_readiness_goes_first_and_streams_are_served_until_the_drain(up: Up) -> None:
    up.command("user", "add", "anna")
    token = up.command("token", "issue", "anna")["token"]
    port = free_port()
    gateway = Process(
        "gateway",
        environment={
            **up.environment,
            "TIDINGS_PORT": str(port),
            "TIDINGS_GATEWAY_UNREADY_SECONDS": str(UNREADY_SECONDS),
            "TIDINGS_GATEWAY_DRAIN_SECONDS": "0.2",
        },
    )
    try:
        assert await eventually(lambda: _is_ready(port), seconds=30)
        authorization = f"Authorization: Bearer {token}"
        async with await EventSourceClient.get(port, NOTHING, authorization) as before:
            start = time.monotonic()
            os.kill(gateway.pid, signal.SIGTERM)
            await eventually(lambda: _is_unready(port), seconds=UNREADY_SECONDS)

            async with await EventSourceClient.get(port, NOTHING, authorization) as late:
                assert late.status == 200, "who has not heard of it yet is served"
                for stream in (before, late):
                    assert (await stream.chunk()).startswith(b"retry: ")
                    assert await stream.chunk() == b""
        assert time.monotonic() - start >= UNREADY_SECONDS
        assert gateway.wait(seconds=10) == 0
        assert time.monotonic() - start < (UNREADY_SECONDS + 5) * PATIENCE
    finally:
        gateway.close()


async def _is_ready(port: int) -> bool:
    return await readiness(port) == 200


async def _is_unready(port: int) -> bool:
    return await readiness(port) == 503
