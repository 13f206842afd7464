"""Many requests over one subscription: a reply is found by the last token of its subject."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from shared.bus.connection import Bus, BusUnavailableError

_ResultT = TypeVar("_ResultT")


class Reply(Protocol[_ResultT]):
    """One request's replies, as they come."""

    def add(self, message: Msg) -> None:
        """Set the result or the exception of `future` when `message` is the last one."""

    @property
    def future(self) -> asyncio.Future[_ResultT]: ...


class Inbox(Generic[_ResultT]):
    """Use as `async with`. What waits when the connection is lost fails at once."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._prefix = bus.client.new_inbox()
        self._count = 0
        self._waiting: dict[str, Reply[_ResultT]] = {}
        self._subscription: Subscription | None = None
        bus.on_connection_change(self._fail_all)

    async def __aenter__(self) -> Self:
        self._subscription = await self._bus.hear(f"{self._prefix}.*", self._receive)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._fail_all()
        if self._subscription is not None:
            with suppress(NatsError):  # the connection is gone, and the subscription with it
                await self._subscription.unsubscribe()

    async def request(
        self,
        reply: Reply[_ResultT],
        subject: str,
        body: bytes,
        *,
        timeout_seconds: float,
        headers: dict[str, str] | None = None,
    ) -> _ResultT:
        """Raises BusUnavailableError; the request may have taken effect."""
        self._count += 1
        token = str(self._count)
        self._waiting[token] = reply
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._bus.publish(
                    subject, body, reply=f"{self._prefix}.{token}", headers=headers
                )
                return await reply.future
        except TimeoutError as error:
            raise BusUnavailableError(f"no answer from {subject}") from error
        finally:
            del self._waiting[token]

    def _receive(self, message: Msg) -> None:
        reply = self._waiting.get(message.subject.rsplit(".", 1)[1])
        if reply is not None and not reply.future.done():
            reply.add(message)

    def _fail_all(self) -> None:
        for reply in self._waiting.values():
            if not reply.future.done():
                reply.future.set_exception(BusUnavailableError("the connection was lost"))
