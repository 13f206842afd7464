"""An answer that goes on ends when its reader does not read."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from services.console import taken_stream
from services.console.taken_stream import TakenStream

_SCOPE: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.4"}}


class _Pieces:
    def __init__(self) -> None:
        self.made = 0
        self.is_closed = False

    async def endless(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                self.made += 1
                yield b"piece"
        finally:
            self.is_closed = True


async def _receive() -> Any:
    await asyncio.Event().wait()


async def test_who_never_reads_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taken_stream, "STALL_SECONDS", 0.05)
    pieces, sent = _Pieces(), list[Any]()

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if len(sent) == 3:
            await asyncio.Event().wait()

    await TakenStream(pieces.endless())(_SCOPE, _receive, send)
    assert pieces.is_closed
    assert pieces.made == 2
    assert sent == ["http.response.start", "http.response.body", "http.response.body"]


async def test_what_makes_the_pieces_may_fail_of_its_own() -> None:
    async def failing() -> AsyncGenerator[bytes]:
        yield b"piece"
        raise ZeroDivisionError

    async def send(message: Any) -> None:
        del message

    with pytest.raises(ZeroDivisionError):
        await TakenStream(failing())(_SCOPE, _receive, send)
