"""A uvicorn protocol that gives its transport away, as uvicorn itself does for a WebSocket.

An ASGI application finds `EXTENSION` in `scope["extensions"]`: a weak reference to the protocol.
`give_away` ends the HTTP part of the connection and hands the transport to another protocol, which
writes the response itself. A request to upgrade comes to the application as any other request.
"""

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

EXTENSION = "tidings.handoff"
HEAD_SECONDS_MAX = 15.0  # for a request to say what it wants
EARLY_BYTES_MAX = 64 * 1024  # a client that talks before the upgrade is answered


class HandoffRefusedError(Exception):
    """More requests are pipelined on the connection, or it is closing: answer over ASGI."""


class HandoffHttpProtocol(HttpToolsProtocol):
    """Needs a `uvicorn.Config(http=HandoffHttpProtocol)`; WebSocket scopes are never made."""

    _head_timer: asyncio.TimerHandle | None = None
    _is_upgrading = False
    _early = b""  # what came after a request to upgrade

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._head_came()
        extensions: Any = {EXTENSION: weakref.ref(self)}
        self.scope["extensions"] = extensions
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False  # whatever follows is not HTTP

    def data_received(self, data: bytes) -> None:
        if self._is_upgrading:
            self._keep_early(data)
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._is_upgrading = True
            self._keep_early(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def give_away(
        self,
        scope: Any,  # noqa: ANN401
        successor: asyncio.Protocol,
        before_early: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing of this protocol lives on; raises HandoffRefusedError.

        `before_early` is called before the successor gets what the client sent too early.
        """
        cycle = self.cycle
        if cycle.scope is not scope or cycle.disconnected or self.transport.is_closing():
            raise HandoffRefusedError
        transport, early = self.transport, self._early
        self.connections.discard(self)
        cycle.response_started = cycle.response_complete = True
        self.flow.resume_reading()
        self.parser = None  # type: ignore[assignment]  # as uvicorn does: it refers back to us
        transport.set_protocol(successor)
        successor.connection_made(transport)
        if self.flow.write_paused:
            successor.pause_writing()
        before_early()
        if early:
            successor.data_received(early)

    def _expect_head(self) -> None:
        """Who connects and says nothing, or ever so slowly, is not waited for."""
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self.transport.close)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _keep_early(self, data: bytes) -> None:
        self._early += data
        if len(self._early) > EARLY_BYTES_MAX:
            self.transport.close()

    def _should_upgrade(self) -> bool:
        return False


def protocol_of(scope: Any) -> HandoffHttpProtocol | None:  # noqa: ANN401
    """Who can give the request's transport away; None: the server is another one."""
    reference = (scope.get("extensions") or {}).get(EXTENSION)
    return None if reference is None else reference()
