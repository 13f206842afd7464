"""Answers what operators ask about the connections of this process (docs/adr/0017)."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Protocol, assert_never

import msgspec
from nats.aio.msg import Msg

from services.gateway.channel import PushChannel
from services.gateway.connection_id import number_of
from services.gateway.connections import Connections
from services.gateway.facts import Wall, details_of, facts_of, matches
from services.gateway.push_connection import EndReason
from services.gateway.record import Recorded
from services.gateway.roll_call import RollCall
from services.gateway.watches import TooManyWatchesError
from services.gateway.watching import Watching
from shared.bus.connection import Bus, BusUnavailableError
from shared.operate.connections import (
    ANSWER_CONNECTIONS,
    ASK_SUBJECT,
    Answer,
    CloseConnections,
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
    decode_question,
    encode_answer,
)
from shared.runtime.clock import Clock, utc_text

_log = logging.getLogger(__name__)

QUESTIONS_AT_ONCE = 8
LOOKED_AT_ONCE = 500  # records between two turns of everybody else
_IDS_TOLD_MAX = 100


class Health(Protocol):
    """How the gateway is, besides its connections."""

    @property
    def is_live(self) -> bool: ...
    @property
    def is_draining(self) -> bool: ...


class Asked:
    """`run` it in the process's task group."""

    def __init__(self, bus: Bus, connections: Connections, health: Health, clock: Clock) -> None:
        self._bus = bus
        self._connections = connections
        self._health = health
        self._clock = clock
        self._started_at = utc_text(clock.now())
        self._roll_call = RollCall(bus, connections.gateway_id, now=clock.monotonic)
        self._watching = Watching(bus, connections, clock)
        self._under_way = 0

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:

            async def take(message: Msg) -> None:
                if message.reply and self._under_way < QUESTIONS_AT_ONCE:
                    self._under_way += 1
                    tasks.create_task(self._answer(message))
                elif message.reply:
                    await self._send(message.reply, self._busy())

            tasks.create_task(self._roll_call.run(), name="roll_call")
            tasks.create_task(self._watching.run(), name="watching")
            async with self._bus.listening(ASK_SUBJECT, take):
                await asyncio.Event().wait()

    async def _answer(self, message: Msg) -> None:
        try:
            try:
                question = decode_question(message.data)
            except msgspec.MsgspecError as error:
                _log.warning("question_unreadable", extra={"error": str(error)})
                await self._send(message.reply, self._refusal("the question cannot be read"))
                return
            async for answer in self._answers(question, message.reply):
                await self._send(message.reply, answer)
        except Exception:  # noqa: BLE001  a bug must not end the connections
            _log.exception("question_failed")
        finally:
            self._under_way -= 1

    async def _send(self, inbox: str, answer: Answer) -> None:
        body = encode_answer(answer)
        if len(body) > self._bus.client.max_payload:
            body = encode_answer(self._refusal("the answer is larger than NATS passes on"))
        try:
            await self._bus.publish(inbox, body)
        except BusUnavailableError as error:
            _log.info("answer_not_sent", extra={"error": repr(error)})

    async def _answers(self, question: Question, inbox: str) -> AsyncIterator[Answer]:
        match question:
            case ListConnections():
                async for page in self._pages(question):
                    yield page
            case ShowConnection():
                yield self._shown(question.connection)
            case CloseConnections():
                yield await self._close(question)
            case ResyncConnections():
                yield await self._resync(question)
            case WatchConnections():
                yield await self._watch(question, inbox)
            case Unwatch():
                self._connections.watches.end(question.watch)
            case _:
                assert_never(question)

    async def _pages(self, question: ListConnections) -> AsyncIterator[Page]:
        found: list[ConnectionFacts] = []
        left = question.count
        wall = self._wall()
        async for record, channel in self._found(question.filter, ended=question.phase == "ended"):
            if not left:
                break
            if len(found) == ANSWER_CONNECTIONS:
                yield Page(gateway=self._facts(), connections=tuple(found), is_last=False)
                found.clear()
            left -= 1
            found.append(self._facts_of(record, channel, wall))
        else:
            left = 1  # it was not cut short
        yield Page(gateway=self._facts(), connections=tuple(found), is_last=True, is_more=not left)

    def _shown(self, connection_id: str) -> Shown:
        gateway_id, wall = self._connections.gateway_id, self._wall()
        number = number_of(connection_id, gateway_id)
        channel = self._connections.get(number)
        record: Recorded | None = channel or self._connections.ended_lately.get(number)
        details = None
        if record is not None:
            details = details_of(record, gateway_id, wall, unsent_octets=_unsent(channel))
        return Shown(gateway=self._facts(), connection=details)

    async def _close(self, question: CloseConnections) -> Done | Refused:
        if question.filter == _EVERYTHING:
            return self._refusal("it was not said which connections to close")
        channels = await self._meant(question.filter)
        for channel in channels:
            channel.ended_by = question.by + (f" ({question.reason})" if question.reason else "")
            channel.end(EndReason.OPERATOR)
        done = self._done(channels)
        if done.count:
            _log.info(
                "connections_closed",
                extra={
                    "by": question.by,
                    "reason": question.reason,
                    "count": done.count,
                    "connections": done.connections,
                },
            )
        return done

    async def _resync(self, question: ResyncConnections) -> Done | Refused:
        if question.filter == _EVERYTHING:
            return self._refusal("it was not said which connections to resynchronise")
        channels = [one for one in await self._meant(question.filter) if one.is_listening]
        for channel in channels:
            channel.resync(question.by)
        done = self._done(channels)
        if done.count:
            _log.info(
                "connections_resynchronised",
                extra={"by": question.by, "count": done.count, "connections": done.connections},
            )
        return done

    async def _watch(self, question: WatchConnections, inbox: str) -> Watched | Refused:
        """Every renewal looks again at who is meant, and is answered, so that silence is heard."""
        if question.filter == _EVERYTHING:
            return self._refusal("it was not said which connections to watch")
        try:
            watch = self._watching.renew(question, inbox)
        except TooManyWatchesError:
            return self._refusal("too many operators watch already")
        async for record, _ in self._found(question.filter, ended=False):
            self._connections.watches.watch(watch, record)
        return self._watching.news(watch)

    async def _meant(self, wanted: ConnectionFilter) -> list[PushChannel]:
        """Those that are still open once all were looked at."""
        found = [channel async for _, channel in self._found(wanted, ended=False)]
        return [one for one in found if one is not None and not one.push.is_over]

    def _done(self, channels: list[PushChannel]) -> Done:
        ids = tuple(self._connections.id_of(one) for one in channels[:_IDS_TOLD_MAX])
        return Done(gateway=self._facts(), connections=ids, count=len(channels))

    async def _found(
        self, wanted: ConnectionFilter, *, ended: bool
    ) -> AsyncIterator[tuple[Recorded, PushChannel | None]]:
        """Newest first; in between the others have their turn, so some may end meanwhile."""
        gateway_id = self._connections.gateway_id
        for looked, (record, channel) in enumerate(self._all(wanted, ended=ended), start=1):
            if matches(record, wanted, gateway_id):
                yield record, channel
            if looked % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _all(
        self, wanted: ConnectionFilter, *, ended: bool
    ) -> Iterator[tuple[Recorded, PushChannel | None]]:
        connections = self._connections
        if ended:
            connections.ended_lately.forget_old(connections.now())
            return ((one, None) for one in tuple(connections.ended_lately.newest_first()))
        if wanted.connection is not None:
            channel = connections.get(number_of(wanted.connection, connections.gateway_id))
            return iter([] if channel is None else [(channel, channel)])
        return ((channel, channel) for channel in connections.newest_first())

    def _facts_of(
        self, record: Recorded, channel: PushChannel | None, wall: Wall
    ) -> ConnectionFacts:
        return facts_of(record, self._connections.gateway_id, wall, unsent_octets=_unsent(channel))

    def _facts(self) -> GatewayFacts:
        connections = self._connections
        connections.ended_lately.forget_old(connections.now())
        return GatewayFacts(
            id=connections.gateway_id,
            host=socket.gethostname(),
            started_at=self._started_at,
            connections={kind: count for kind, count in connections.open.items() if count},
            users=connections.user_count,
            ended_kept=len(connections.ended_lately),
            watches=len(connections.watches),
            cursor=connections.cursor,
            is_live=self._health.is_live,
            is_draining=self._health.is_draining,
            peers=self._roll_call.peers(),
        )

    def _busy(self) -> Refused:
        reason = "too much is asked at once"
        return Refused(gateway=self._facts(), reason=reason, is_busy=True)

    def _refusal(self, reason: str) -> Refused:
        return Refused(gateway=self._facts(), reason=reason)

    def _wall(self) -> Wall:
        return Wall(self._connections.now(), self._clock.now())


_EVERYTHING = ConnectionFilter()


def _unsent(channel: PushChannel | None) -> int:
    return 0 if channel is None else channel.unsent_octets
