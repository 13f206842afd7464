"""The life of a process: it drains when it is told to end."""

import asyncio
import signal


def draining_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; every loop and every open connection watches it."""
    draining = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, draining.set)
    return draining
