"""An answer that goes on for as long as it is taken: who never reads must not keep a place for it.

What makes the pieces looks at the credential between two of them, so that it is looked at again,
at the latest, after the time that one piece may take.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from starlette.responses import StreamingResponse
from starlette.types import Message, Send

STALL_SECONDS = 20.0  # that a piece may wait for its reader


class _NotTakenError(Exception):
    """Its reader does not read."""


class TakenStream(StreamingResponse):
    """Ends, and closes what makes its pieces, when one of them is not taken in time."""

    body_iterator: AsyncGenerator[bytes]

    async def stream_response(self, send: Send) -> None:
        async def taken(message: Message) -> None:
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await send(message)
            except TimeoutError as error:
                raise _NotTakenError from error

        # The server cuts a connection whose answer was not ended.
        async with aclosing(self.body_iterator):
            with suppress(_NotTakenError):
                await super().stream_response(taken)
