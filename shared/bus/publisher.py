"""Pipelined publishing into a stream, where the server's refusals reach the caller.

Any number of `append` calls may be under way at once; the caller bounds them.
"""

import asyncio

import msgspec
from nats.aio.msg import Msg

from shared.bus.connection import BusUnavailableError
from shared.bus.inbox import Inbox

_WRONG_LAST_SEQUENCE = (10071, 10164)  # err_code; the second without the number, in a cluster

_SERVER_ERROR = 500  # and above: no leader yet, no space left; the same append may work later


class StaleSequenceError(Exception):
    """The subject's last message is not the expected one."""


class AppendRefusedError(Exception):
    """The stream took nothing, and will not until something is changed: `code` is its err_code."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code


class _ApiError(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _Acknowledgement(msgspec.Struct):
    seq: int = 0
    error: _ApiError | None = None


_decoder = msgspec.json.Decoder(_Acknowledgement)


class _Reply:
    def __init__(self) -> None:
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def add(self, message: Msg) -> None:
        if message.headers and message.headers.get("Status") == "503":
            self.future.set_exception(BusUnavailableError("no stream takes this subject"))
            return
        acknowledgement = _decoder.decode(message.data)
        error = acknowledgement.error
        if error is None:
            self.future.set_result(acknowledgement.seq)
        elif error.err_code in _WRONG_LAST_SEQUENCE:
            self.future.set_exception(StaleSequenceError(error.description))
        elif error.code >= _SERVER_ERROR:
            self.future.set_exception(BusUnavailableError(error.description))
        else:
            self.future.set_exception(AppendRefusedError(error.err_code, error.description))


class Publisher:
    """Appends to streams; one inbox for all of them."""

    def __init__(self, inbox: Inbox[int]) -> None:
        self._inbox = inbox

    async def append(
        self, subject: str, body: bytes, *, last_sequence: int, timeout_seconds: float = 5
    ) -> int:
        """Append if the subject's last message is `last_sequence` (0: it has none).

        Returns the new sequence once it is on disk. Raises StaleSequenceError,
        AppendRefusedError, and BusUnavailableError, after which it may have been stored or not.
        """
        return await self._inbox.request(
            _Reply(),
            subject,
            body,
            timeout_seconds=timeout_seconds,
            headers={"Nats-Expected-Last-Subject-Sequence": str(last_sequence)},
        )
