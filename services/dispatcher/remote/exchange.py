"""Questions to method services over NATS: the answer, or why there is none, and what comes late.

One subscription for all of them; the last token of a reply's subject names the question.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self, TypeAlias

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from services.dispatcher.registry import Gone
from shared.bus.connection import Bus, BusUnavailableError

_log = logging.getLogger(__name__)

LATE_MAX = 1000  # questions given up, whose answers are still listened for
_NO_RESPONDERS = "503"
_AT_ONCE_SECONDS = 0.05  # whoever answers within is not worth a watch over the client


class Silence(Enum):
    """Why there is no answer."""

    UNSENT = "unsent"  # it was never on its way
    NOBODY = "nobody"  # no instance listens
    LATE = "late"
    LOST = "lost"  # NATS, and perhaps the answer with it
    GONE = "gone"  # the client, so nobody wants it


LateAnswer: TypeAlias = Callable[[Msg], None]


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`late` is called with an answer that came after the question was given up."""

    subject: str
    cancel_subject: str
    body: bytes
    late: LateAnswer
    gone: Gone | None


class Exchange:
    """Use as `async with`, inside of `tasks`."""

    def __init__(self, bus: Bus, tasks: asyncio.TaskGroup) -> None:
        self._bus = bus
        self._tasks = tasks
        self._prefix = bus.client.new_inbox()
        self._count = 0
        self._waiting: dict[str, asyncio.Future[Msg | Silence]] = {}
        self._late: OrderedDict[str, LateAnswer] = OrderedDict()
        self._subscription: Subscription | None = None

    async def __aenter__(self) -> Self:
        self._bus.on_connection_change(self._lose_all)
        self._subscription = await self._bus.hear(f"{self._prefix}.*", self._receive)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bus.forget_listener(self._lose_all)
        self._lose_all()
        if self._subscription is not None:
            with suppress(NatsError):  # the connection is gone, and the subscription with it
                await self._subscription.unsubscribe()

    @property
    def octets_max(self) -> int:
        """Of a question's body."""
        return int(self._bus.client.max_payload)

    async def ask(self, question: Question, *, timeout_seconds: float) -> Msg | Silence:
        """Who does not get an answer in time, or is cancelled, has told the service to stop."""
        self._count += 1
        token = str(self._count)
        reply = f"{self._prefix}.{token}"
        future: asyncio.Future[Msg | Silence] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        answer: Msg | Silence = Silence.UNSENT
        is_sent = False
        try:
            await self._bus.publish(question.subject, question.body, reply=reply)
            is_sent = True
            answer = await self._answer(future, question.gone, timeout_seconds)
        except BusUnavailableError as error:
            _log.warning("method_call_not_sent", extra={"error": str(error)})
        finally:
            del self._waiting[token]
            if is_sent and isinstance(answer, Silence):
                await self._give_up(question, token, reply, future)
        return answer

    async def _answer(
        self, future: asyncio.Future[Msg | Silence], gone: Gone | None, timeout_seconds: float
    ) -> Msg | Silence:
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(timeout_seconds, _settle, future, Silence.LATE)]
        if gone is not None:
            timers.append(loop.call_later(_AT_ONCE_SECONDS, self._watch, gone, future))
        try:
            return await future
        finally:
            for timer in timers:
                timer.cancel()

    def _watch(self, gone: Gone, future: asyncio.Future[Msg | Silence]) -> None:
        watch = self._tasks.create_task(_settle_when(gone, future))
        future.add_done_callback(lambda _: watch.cancel())

    async def _give_up(
        self, question: Question, token: str, reply: str, future: asyncio.Future[Msg | Silence]
    ) -> None:
        """Nobody waits any more: the service may stop, and what it did must still be known."""
        answered = future.result() if future.done() and not future.cancelled() else None
        if answered is Silence.NOBODY:
            return
        if isinstance(answered, Msg):  # it came in the same instant
            question.late(answered)
            return
        self._late[token] = question.late
        while len(self._late) > LATE_MAX:
            self._late.popitem(last=False)
        with suppress(BusUnavailableError):  # it is a hint
            await self._bus.publish(question.cancel_subject, reply.encode())

    def _receive(self, message: Msg) -> None:
        token = message.subject.rsplit(".", 1)[1]
        future = self._waiting.get(token)
        if future is not None:
            is_nobody = (message.headers or {}).get("Status") == _NO_RESPONDERS
            _settle(future, Silence.NOBODY if is_nobody else message)
            return
        late = self._late.pop(token, None)
        if late is not None:
            late(message)

    def _lose_all(self) -> None:
        for future in self._waiting.values():
            _settle(future, Silence.LOST)


def _settle(future: asyncio.Future[Msg | Silence], answer: Msg | Silence) -> None:
    """The first one counts."""
    if not future.done():
        future.set_result(answer)


async def _settle_when(gone: Gone, future: asyncio.Future[Msg | Silence]) -> None:
    await gone()
    _settle(future, Silence.GONE)
