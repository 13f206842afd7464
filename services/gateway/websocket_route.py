"""`/jmap/ws` (RFC 8887 section 4.1): the opening handshake, as a request like any other."""

import base64
import binascii
from typing import Any

from websockets.utils import accept_key

from services.gateway.connections import Connections
from services.gateway.entrance import (
    Entrance,
    Refusal,
    Visitor,
    header,
    headers_of,
    log_refusal,
    ticket_of,
)
from services.gateway.event_source import Receive, Send
from services.gateway.handoff import HandoffRefusedError, protocol_of
from services.gateway.push_connection import EndReason, PushConnection, PushOptions
from services.gateway.settings import GatewaySettings
from services.gateway.websocket import NOTHING, Answer, WebSocketChannel, WebSocketOptions

SUBPROTOCOL = "jmap"
_KEY_BYTES = 16


class WebSocketRoute:
    """An ASGI application; it needs the handoff."""

    def __init__(
        self,
        entrance: Entrance,
        connections: Connections,
        answer: Answer,
        settings: GatewaySettings,
    ) -> None:
        self._entrance = entrance
        self._connections = connections
        self._answer = answer
        self._origins = frozenset(settings.origins)
        self._options = WebSocketOptions(
            push=PushOptions(
                types=NOTHING,
                ping_seconds=settings.websocket_ping_seconds,
                flush_seconds=settings.flush_milliseconds / 1000,
                stall_seconds=settings.stall_seconds,
            ),
            message_bytes_max=settings.websocket_message_bytes_max,
            requests_at_once_max=settings.requests_at_once_max,
        )

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401
        protocol = protocol_of(scope)
        begun = self._connections.now()
        try:
            key = self._checked_key(scope)
            ticket = ticket_of(scope["query_string"].decode("latin-1"))
            visitor = await self._entrance.enter(scope, ticket)
        except Refusal as refusal:
            log_refusal(scope, refusal, self._connections.now() - begun)
            await refusal.response()(scope, receive, send)
            return
        if protocol is None:
            visitor.place.leave()
            await Refusal(501, "this server cannot upgrade").response()(scope, receive, send)
            return
        channel = self._channel(visitor)
        self._connections.add(channel)
        try:
            protocol.give_away(scope, channel, before_early=lambda: channel.open(_head(key)))
        except HandoffRefusedError:
            channel.end(EndReason.CLIENT)
            await Refusal(400, "nothing may follow a request to upgrade").response()(
                scope, receive, send
            )

    def _checked_key(self, scope: Any) -> str:  # noqa: ANN401
        """Of a well-formed opening handshake (RFC 6455 section 4.2.1); raises Refusal."""
        if scope["method"] != "GET":
            raise Refusal(405, "a WebSocket is opened with GET", {"allow": "GET"})
        upgrades = (token.lower() for token in headers_of(scope, b"upgrade"))
        connection = (token.lower() for token in headers_of(scope, b"connection"))
        if "websocket" not in upgrades or "upgrade" not in connection:
            raise Refusal(
                426, "this is a WebSocket", {"upgrade": "websocket", "connection": "upgrade"}
            )
        if header(scope, b"sec-websocket-version") != "13":
            raise Refusal(426, "only version 13 is spoken", {"sec-websocket-version": "13"})
        key = header(scope, b"sec-websocket-key") or ""
        if not _is_key(key):
            raise Refusal(400, "Sec-WebSocket-Key must be 16 octets in base64")
        if SUBPROTOCOL not in headers_of(scope, b"sec-websocket-protocol"):
            raise Refusal(400, f'the subprotocol "{SUBPROTOCOL}" must be offered')
        origin = header(scope, b"origin")
        if self._origins and origin is not None and origin not in self._origins:
            raise Refusal(403, "this origin may not open a WebSocket")
        return key

    def _channel(self, visitor: Visitor) -> WebSocketChannel:
        now = self._connections.now()
        ends_at = now + self._entrance.lifetime_seconds(visitor.credential)
        push = PushConnection(self._options.push, now, ends_at=ends_at)
        return WebSocketChannel(
            self._connections,
            push,
            visitor.credential,
            visitor.place,
            self._answer,
            self._options,
        )


def _head(key: str) -> bytes:
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ).encode()


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
