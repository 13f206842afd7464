"""Waiting for a fact instead of sleeping."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

# A slow machine gives every deadline of the tests more room: TIDINGS_TEST_PATIENCE=4.
PATIENCE = float(os.environ.get("TIDINGS_TEST_PATIENCE", "1"))
_POLL_SECONDS = 0.02


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]], *, seconds: float = ..., what: str = ...
) -> T: ...
@overload
async def eventually(predicate: Callable[[], T], *, seconds: float = ..., what: str = ...) -> T: ...
async def eventually(predicate: Callable[[], Any], *, seconds: float = 10.0, what: str = "") -> Any:
    """The first true value of `predicate`, asked again and again; AssertionError when late."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        answer = predicate()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(
                what or f"not within {seconds * PATIENCE:.0f} s, at last {value!r}"
            )
        await asyncio.sleep(_POLL_SECONDS)


def wait_until(
    predicate: Callable[[], T], *, seconds: float = 10.0, what: Callable[[], str] = str
) -> T:
    """As `eventually`, where no event loop runs."""
    deadline = time.monotonic() + seconds * PATIENCE
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(what() or f"not within {seconds * PATIENCE:.0f} s")
        time.sleep(_POLL_SECONDS)
    return value
