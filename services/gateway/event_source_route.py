"""`/jmap/eventsource` (RFC 8620 section 7.3): from a request to an open event source."""

import asyncio
import functools
from collections.abc import Iterable
from typing import Any

from services.gateway.channel import bound_buffers
from services.gateway.connections import Connections
from services.gateway.entrance import (
    Entrance,
    Refusal,
    Visitor,
    header,
    log_refusal,
    retry_after,
    ticket_of,
)
from services.gateway.event_source import (
    HEADERS,
    AsgiTransport,
    EventSourceChannel,
    Receive,
    Send,
    response_head,
)
from services.gateway.event_source_query import EventSourceQuery, QueryError, event_source_query
from services.gateway.handoff import HandoffRefusedError, protocol_of
from services.gateway.push_connection import EndReason, PushConnection, PushOptions, Types
from services.gateway.settings import GatewaySettings
from shared.log.appender import LogUnavailableError
from shared.store.pool import POSTGRES_AWAY


class EventSourceRoute:
    """An ASGI application; without a handoff it stays and answers over ASGI."""

    def __init__(
        self,
        entrance: Entrance,
        connections: Connections,
        settings: GatewaySettings,
    ) -> None:
        self._entrance = entrance
        self._connections = connections
        self._settings = settings
        self._joins = asyncio.Semaphore(settings.joins_at_once_max)
        self._options = functools.lru_cache(maxsize=1024)(self._new_options)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401
        protocol = protocol_of(scope)
        begun = self._connections.now()
        try:
            channel = await self._joined(scope)
        except Refusal as refusal:
            log_refusal(scope, refusal, self._connections.now() - begun)
            await refusal.response()(scope, receive, send)
            return
        if channel is None:
            await _answer_head(send)
            return
        # From here to `open` nothing may wait: what comes now must come after what was missed.
        if protocol is not None:
            head = response_head(scope["http_version"], protocol.server_state.default_headers)
            try:
                protocol.give_away(scope, channel)
            except HandoffRefusedError:
                pass
            else:
                channel.open_as(head, is_chunked=scope["http_version"] == "1.1")
                return
        below = None if protocol is None else protocol.transport
        await self._stay(channel, below, receive, send)

    async def _joined(self, scope: Any) -> EventSourceChannel | None:  # noqa: ANN401
        """A channel that was told what it missed, or None for HEAD; raises Refusal."""
        if scope["method"] not in ("GET", "HEAD"):
            raise Refusal(405, "an event source is read with GET", {"allow": "GET, HEAD"})
        query = scope["query_string"].decode("latin-1")
        visitor = await self._entrance.enter(scope, ticket_of(query))
        try:
            asked = _asked(query, header(scope, b"last-event-id"))
        except Refusal:
            visitor.place.leave()
            raise
        if scope["method"] == "HEAD":
            visitor.place.leave()
            return None
        channel = self._channel(visitor, asked)
        self._connections.add(channel)
        try:
            await self._join(channel, asked.cursor)
        except BaseException:
            channel.end(EndReason.LOST)
            raise
        return channel

    async def _join(self, channel: EventSourceChannel, cursor: str | None) -> None:
        try:
            async with asyncio.timeout(self._settings.join_seconds_max), self._joins:
                await self._connections.join(channel, cursor)
        except (LogUnavailableError, *POSTGRES_AWAY) as error:
            raise Refusal(503, "the log cannot be read now", retry_after()) from error
        match channel.push.end_reason:
            case None:
                return
            case EndReason.REVOKED:
                raise Refusal(401, "the token was revoked")
            case _:
                raise Refusal(503, "this server is about to end", retry_after())

    def _channel(self, visitor: Visitor, asked: EventSourceQuery) -> EventSourceChannel:
        now = self._connections.now()
        ends_at = now + self._entrance.lifetime_seconds(visitor.credential)
        options = self._options(asked.types, asked.ping_seconds, asked.closes_after_state)
        push = PushConnection(options, now, ends_at=ends_at)
        return EventSourceChannel(self._connections, push, visitor.credential, visitor.place)

    def _new_options(
        self,
        types: Types,
        ping_seconds: int,
        closes_after_state: bool,  # noqa: FBT001  a key of the cache
    ) -> PushOptions:
        return PushOptions(
            types=types,
            ping_seconds=ping_seconds,
            closes_after_state=closes_after_state,
            flush_seconds=self._settings.flush_milliseconds / 1000,
            stall_seconds=self._settings.stall_seconds,
        )

    async def _stay(
        self,
        channel: EventSourceChannel,
        below: asyncio.Transport | None,
        receive: Receive,
        send: Send,
    ) -> None:
        if below is not None and not below.is_closing():
            bound_buffers(below)
        transport = AsgiTransport(channel, below)
        channel.transport = transport
        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
            await send({"type": "http.response.body", "body": b"", "more_body": True})
            channel.open_as(b"", is_chunked=False)
            await transport.run(send, receive)
        finally:
            channel.connection_lost(None)


def _asked(query: str, last_event_id: str | None) -> EventSourceQuery:
    try:
        return event_source_query(query, last_event_id)
    except QueryError as error:
        raise Refusal(400, str(error)) from error


async def _answer_head(send: Send) -> None:
    headers: Iterable[tuple[bytes, bytes]] = HEADERS
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
    await send({"type": "http.response.body", "body": b""})
