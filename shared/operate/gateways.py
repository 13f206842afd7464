"""Asking the gateways about their connections, over NATS (docs/adr/0017).

All of them hear a question. Who answers says which other gateways it knows of, so that the asker
waits for all of them and for nobody else, and can name who did not answer.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, Self, TypeVar

import msgspec
from nats.aio.msg import Msg

from shared.bus.connection import Bus, BusUnavailableError
from shared.operate.connections import (
    ASK_SUBJECT,
    Answer,
    CloseConnections,
    ConnectionDetails,
    ConnectionFacts,
    ConnectionFilter,
    Done,
    GatewayFacts,
    ListConnections,
    Page,
    Question,
    Refused,
    ResyncConnections,
    ShowConnection,
    Shown,
    Unwatch,
    WatchConnections,
    Watched,
    decode_answer,
    encode_question,
    gateway_of,
)

_WAITING_MAX = 1024  # messages that came and were not read yet

T = TypeVar("T", Page, Shown, Done)


class Waits(msgspec.Struct, frozen=True, kw_only=True):
    """How long gateways are waited for."""

    answer_seconds_max: float = 2.0  # without any answer
    gather_seconds_max: float = 30.0  # for all of them
    lease_seconds: float = 15.0  # after which a gateway forgets who watches
    renewal_seconds: float = 5.0
    silent_seconds: float = 12.0  # a watched gateway that says nothing for so long is told of


PATIENT = Waits()


class UnknownConnectionError(LookupError):
    """No gateway holds it, or held it lately."""

    def __init__(self, connection_id: str, *, is_gateway_there: bool) -> None:
        self.connection_id = connection_id
        self.is_gateway_there = is_gateway_there
        super().__init__(
            f"no connection {connection_id} is open, or ended lately"
            if is_gateway_there
            else f"no gateway {gateway_of(connection_id)} answers, which connection "
            f"{connection_id} is of: it ended, or cannot be reached"
        )


class GatewaySilentError(UnknownConnectionError):
    """The gateway that holds it, or held it, is there and did not answer in time."""

    def __init__(self, connection_id: str) -> None:
        super().__init__(connection_id, is_gateway_there=False)


class RefusedByGatewayError(Exception):
    """A gateway does not do what it is asked; says which and why."""


class GatewayBusyError(RefusedByGatewayError):
    """It has too much to answer just now."""


class NoGatewayError(Exception):
    """No gateway answers at all."""

    def __init__(self) -> None:
        super().__init__("no gateway answers")


class Listing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What all gateways together answered."""

    gateways: tuple[GatewayFacts, ...]  # by id
    silent: tuple[str, ...]  # ids of those that others know of, and that did not answer in time
    connections: tuple[ConnectionFacts, ...]  # the newest first
    is_more: bool  # than were asked for


class Effect(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """To which connections something was done."""

    connections: tuple[str, ...]  # the first hundred ids of each gateway
    count: int
    silent: tuple[str, ...]  # gateways that did not answer: it may have been done there, too


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway that is watched has said nothing for too long."""

    gateway: str


class Gateways:
    """Ask with it. `by` is who asks, for the logs of the gateways."""

    def __init__(self, bus: Bus, *, by: str, waits: Waits = PATIENT) -> None:
        self._bus = bus
        self._by = by[:200]
        self._waits = waits

    async def find(
        self, wanted: ConnectionFilter, *, count: int = 100, ended: bool = False
    ) -> Listing:
        """The newest `count` connections, those that ended lately with `ended`.

        Raises NoGatewayError, RefusedByGatewayError, BusUnavailableError.
        """
        question = ListConnections(filter=wanted, count=count, phase="ended" if ended else "open")
        pages, silent = await self._ask(question, Page, is_complete=lambda page: page.is_last)
        found = [connection for page in pages for connection in page.connections]
        found.sort(key=lambda one: one.ended_at or one.opened_at, reverse=True)
        gateways = {page.gateway.id: page.gateway for page in pages}
        return Listing(
            gateways=tuple(gateways[key] for key in sorted(gateways)),
            silent=silent,
            connections=tuple(found[:count]),
            is_more=len(found) > count or any(page.is_more for page in pages),
        )

    async def show(self, connection_id: str) -> ConnectionDetails:
        """Raises UnknownConnectionError, GatewaySilentError, BusUnavailableError."""
        holder = gateway_of(connection_id)
        try:
            answers, silent = await self._ask(
                ShowConnection(connection=connection_id), Shown, only=holder
            )
        except NoGatewayError as error:
            raise UnknownConnectionError(connection_id, is_gateway_there=False) from error
        for answer in answers:
            if answer.connection is not None:
                return answer.connection
        if holder in silent:
            raise GatewaySilentError(connection_id)
        raise UnknownConnectionError(
            connection_id, is_gateway_there=any(one.gateway.id == holder for one in answers)
        )

    async def close(self, wanted: ConnectionFilter, *, reason: str = "") -> Effect:
        """Close them; raises as `find` does, also when the filter is empty."""
        return await self._do(
            CloseConnections(filter=wanted, by=self._by, reason=reason[:200]), wanted
        )

    async def resync(self, wanted: ConnectionFilter) -> Effect:
        """Tell them the newest state of everything; raises as `find` does."""
        return await self._do(ResyncConnections(filter=wanted, by=self._by), wanted)

    @asynccontextmanager
    async def watching(self, wanted: ConnectionFilter) -> AsyncIterator["Watching"]:
        """What happens on them, also on those that open later; read it, or it ends by itself."""
        async with _answers_to(self._bus) as answers:
            watch = WatchConnections(
                watch=secrets.token_urlsafe(12),
                filter=wanted,
                by=self._by,
                lease_seconds=self._waits.lease_seconds,
            )
            watching = Watching(answers, watch, self._waits)
            await watching.renew()
            try:
                yield watching
            finally:
                with contextlib.suppress(BusUnavailableError):
                    await answers.ask(Unwatch(watch=watch.watch))

    async def _do(
        self, question: CloseConnections | ResyncConnections, wanted: ConnectionFilter
    ) -> Effect:
        only = gateway_of(wanted.connection) if wanted.connection else None
        answers, silent = await self._ask(question, Done, only=only)
        return Effect(
            connections=tuple(one for answer in answers for one in answer.connections),
            count=sum(answer.count for answer in answers),
            silent=silent,
        )

    async def _ask(
        self,
        question: Question,
        kind: type[T],
        *,
        is_complete: Callable[[T], bool] = lambda _: True,
        only: str | None = None,
    ) -> tuple[list[T], tuple[str, ...]]:
        """The answers, and who did not answer. `only`: the gateway whose answer is enough."""
        gathered = _Gathered(kind, is_complete, only)
        async with _answers_to(self._bus) as answers:
            await answers.ask(question)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._waits.gather_seconds_max):
                    while not gathered.is_all:
                        async with asyncio.timeout(self._waits.answer_seconds_max):
                            gathered.add(await answers.next())
        if not gathered.answers:
            raise NoGatewayError
        return gathered.answers, gathered.silent()


class _Gathered(Generic[T]):
    """Answers of one kind, and of whom more are expected."""

    def __init__(self, kind: type[T], is_complete: Callable[[T], bool], only: str | None) -> None:
        self.answers: list[T] = []
        self._kind: type[T] = kind
        self._is_complete: Callable[[T], bool] = is_complete
        self._only = only
        self._known = set[str]()  # gateways that are there
        self._complete = set[str]()

    @property
    def is_all(self) -> bool:
        return self._only in self._complete or bool(self._known and self._known <= self._complete)

    def add(self, answer: Answer) -> None:
        """Raises RefusedByGatewayError."""
        if isinstance(answer, Refused):
            raise _refusal(answer)
        if isinstance(answer, Watched) or not isinstance(answer, self._kind):
            return
        gateway: GatewayFacts = answer.gateway
        self.answers.append(answer)
        self._known.update((gateway.id, *gateway.peers))
        if self._is_complete(answer):
            self._complete.add(gateway.id)

    def silent(self) -> tuple[str, ...]:
        if self._only in self._complete:
            return ()
        return tuple(sorted(self._known - self._complete))


class _Answers:
    """An inbox, and the questions whose answers come to it."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.inbox = bus.client.new_inbox()
        self._waiting: asyncio.Queue[Msg] = asyncio.Queue(_WAITING_MAX)

    async def ask(self, question: Question) -> None:
        """Raises BusUnavailableError."""
        await self._bus.publish(ASK_SUBJECT, encode_question(question), reply=self.inbox)

    async def take(self, message: Msg) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # who reads too slowly loses the newest
            self._waiting.put_nowait(message)

    async def next(self) -> Answer:
        """Raises NoGatewayError when the server says that nobody listens."""
        while True:
            message = await self._waiting.get()
            if message.headers and message.headers.get("Status") == "503":
                raise NoGatewayError
            with contextlib.suppress(msgspec.MsgspecError):  # of another version
                return decode_answer(message.data)


@asynccontextmanager
async def _answers_to(bus: Bus) -> AsyncIterator[_Answers]:
    answers = _Answers(bus)
    async with bus.listening(answers.inbox, answers.take):
        yield answers


class Watching:
    """Iterate over it. The lease is renewed while somebody does."""

    def __init__(self, answers: _Answers, watch: WatchConnections, waits: Waits) -> None:
        self._waits = waits
        self._answers = answers
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._renewal_at = 0.0
        self._heard_at: dict[str, float] = {}  # gateway -> when
        self._numbers: dict[str, int] = {}  # gateway -> of its last message
        self.lost_messages = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Watched | Silence:
        """Raises RefusedByGatewayError; an interrupted connection is waited for."""
        while True:
            if (silent := self._silent()) is not None:
                return silent
            try:
                async with asyncio.timeout_at(self._renewal_at):
                    answer = await self._answers.next()
            except (TimeoutError, NoGatewayError):
                await self._wait_and_renew()
                continue
            if isinstance(answer, Refused):
                raise _refusal(answer)
            if isinstance(answer, Watched):
                self._count(answer)
                return answer

    async def renew(self) -> None:
        self._renewal_at = self._loop.time() + self._waits.renewal_seconds
        with contextlib.suppress(BusUnavailableError):  # it reconnects by itself
            await self._answers.ask(self._watch)

    async def _wait_and_renew(self) -> None:
        await asyncio.sleep(self._renewal_at - self._loop.time())
        await self.renew()

    def _count(self, answer: Watched) -> None:
        """A gateway that began anew, after it had lost us, counts from one again."""
        expected = self._numbers.get(answer.gateway, 0) + 1
        self.lost_messages += max(0, answer.number - expected)
        self._numbers[answer.gateway] = answer.number
        self._heard_at[answer.gateway] = self._loop.time()

    def _silent(self) -> Silence | None:
        late = self._loop.time() - self._waits.silent_seconds
        for gateway, heard_at in self._heard_at.items():
            if heard_at < late:
                del self._heard_at[gateway]
                return Silence(gateway=gateway)
        return None


def _refusal(answer: Refused) -> RefusedByGatewayError:
    kind = GatewayBusyError if answer.is_busy else RefusedByGatewayError
    return kind(f"gateway {answer.gateway.id}: {answer.reason}")
