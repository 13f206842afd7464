"""A push service written by others: `web-push-testing` (npm), which decrypts with keys of its own.

It checks TTL, the VAPID token against the key of the subscription, and the encryption, each with
libraries of Node.js. It parses a body by its Content-Type before it decrypts, so that it takes
application/octet-stream only.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.eventually import PATIENCE, wait_until

PACKAGE = "web-push-testing@1.2.2"
_SERVE = """
const {PushApiModel} = require('web-push-testing/src/PushApiModel');
const Server = require('web-push-testing/src/server');
new Server(new PushApiModel(), Number(process.argv[1])).startServer();
"""


class PushService:
    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10 * PATIENCE, trust_env=False)

    def is_up(self) -> bool:
        try:
            return self._http.post("/status").status_code == 200
        except httpx.TransportError:
            return False

    def subscribe(self, application_server_key: str) -> dict[str, Any]:
        """As PushManager.subscribe() of a browser: `endpoint`, `keys`; and `clientHash`."""
        options = {"userVisibleOnly": "true", "applicationServerKey": application_server_key}
        answer = self._http.post("/subscribe", json=options).raise_for_status()
        subscribed: dict[str, Any] = answer.json()["data"]
        return subscribed

    def expire(self, subscription: dict[str, Any]) -> None:
        self._http.post(f"/expire-subscription/{subscription['clientHash']}").raise_for_status()

    def messages(self, subscription: dict[str, Any]) -> list[str]:
        """Decrypted, as the browser would hand them to a page."""
        asked = {"clientHash": subscription["clientHash"]}
        answer = self._http.post("/get-notifications", json=asked).raise_for_status()
        read: list[str] = answer.json()["data"]["messages"]
        return read

    def close(self) -> None:
        self._http.close()


def installed(folder: Path) -> Path:
    """`folder`, with the package in it; fails where Node.js is missing."""
    if shutil.which("npm") is None:
        pytest.fail("npm is missing. Debian: apt-get install --no-install-recommends nodejs npm.")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return folder


@contextmanager
def push_service(folder: Path, port: int) -> Iterator[PushService]:
    """On `port` of localhost; `folder`: see `installed`."""
    process = subprocess.Popen(
        ["node", "-e", _SERVE, str(port)],
        cwd=folder,
        env={**os.environ, "NODE_ENV": "production"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    service = PushService(f"http://localhost:{port}")
    try:
        wait_until(service.is_up, seconds=20, what=lambda: json.dumps(process.poll()))
        yield service
    finally:
        service.close()
        process.kill()
        process.communicate()
