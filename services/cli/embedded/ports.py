"""Ports of the embedded servers."""

import random
import socket

from shared.runtime.errors import CouldNotStartError

# Below the ports that systems give to outgoing connections (Linux: from 32768): a server that is
# down for a moment must find its port free when it comes back.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 200


def free_port(preferred: int | None = None) -> int:
    """A loopback port that nobody listens on: `preferred` if it is one."""
    candidates = [preferred] if preferred else []
    candidates += random.sample(range(_FIRST, _LAST), _TRIES)
    for port in candidates:
        if is_free(port):
            return port
    raise CouldNotStartError(f"No free port between {_FIRST} and {_LAST} on 127.0.0.1.")


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
