"""`multi_last`: the last message of many subjects in one request, without a consumer.

nats-py has no API for it. A reply is any number of messages in ascending sequence and an end
(204 EOB) that says up to which sequence of the stream the answer holds (NATS ADR-31).
"""

import asyncio
from collections.abc import Sequence

import msgspec
from nats.aio.msg import Msg

from shared.bus.connection import BusUnavailableError
from shared.bus.inbox import Inbox

SUBJECTS_MAX = 100  # a request: the server reads them while the stream's writers wait


class LastMessage(msgspec.Struct, frozen=True):
    subject: str
    sequence: int
    body: bytes


class LastMessages(msgspec.Struct, frozen=True):
    """`up_to` is the stream's last sequence that this read saw; a replica may lag behind."""

    messages: list[LastMessage]
    up_to: int


class DirectGetError(Exception):
    """The server refused the read; `status` is its code, such as 408 or 413."""

    def __init__(self, status: str, description: str) -> None:
        super().__init__(f"{status} {description}")
        self.status = status


class _Reply:
    def __init__(self) -> None:
        self.future: asyncio.Future[LastMessages] = asyncio.get_running_loop().create_future()
        self._messages: list[LastMessage] = []

    def add(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status")
        if status is None:
            self._messages.append(
                LastMessage(headers["Nats-Subject"], int(headers["Nats-Sequence"]), message.data)
            )
        elif status == "204":
            up_to = int(headers["Nats-UpTo-Sequence"])
            self.future.set_result(LastMessages(self._messages, up_to))
        elif status in ("404", "503"):  # no such stream yet, or this replica knows nothing
            self.future.set_exception(BusUnavailableError(f"direct get: {status}"))
        else:
            self.future.set_exception(DirectGetError(status, headers.get("Description", "")))


class DirectGet:
    """Reads of one stream. Give it a connection of its own: the server serves it inline."""

    def __init__(self, inbox: Inbox[LastMessages], stream: str) -> None:
        self._inbox = inbox
        self._subject = f"$JS.API.DIRECT.GET.{stream}"

    async def multi_last(
        self, subjects: Sequence[str], *, first_sequence: int = 1, timeout_seconds: float = 5
    ) -> LastMessages:
        """The last message of each subject, where its sequence is at least `first_sequence`.

        One of the subjects must always hold a message: the server's answer to "nothing at all"
        has no `up_to`. At most SUBJECTS_MAX of them. Raises BusUnavailableError, DirectGetError.
        """
        body = msgspec.json.encode({"multi_last": subjects, "seq": first_sequence})
        return await self._inbox.request(
            _Reply(), self._subject, body, timeout_seconds=timeout_seconds
        )
