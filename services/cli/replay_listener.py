"""Replays to test clients: an event source on loopback, for whoever brings a good token.

A client connects as it would to the gateway, with its own credential, and sees what that credential
may see now; so nobody can look through the eyes of somebody else (docs/adr/0014).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import msgspec
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from services.gateway.authority import Authority
from services.gateway.event_source_query import EventSourceQuery, QueryError, event_source_query
from services.gateway.frames import ping_event, state_events
from services.gateway.push_connection import PushMessage
from shared.bus.connection import BusUnavailableError, open_bus
from shared.bus.jetstream import JetStreamError
from shared.http.authentication import AuthenticationError, Authenticator, ScopeMissingError
from shared.log.cursor import Cursor, decode_cursor, encode_cursor
from shared.log.event import StoredEvent
from shared.log.history import open_history
from shared.operate.event_range import EventRange
from shared.operate.pace import Pace
from shared.runtime.clock import Clock
from shared.runtime.lifetime import CutShortError, cut_short_by
from shared.store.pool import POSTGRES_ERRORS

PATH = "/jmap/eventsource"
_CONNECTIONS_MAX = 16
_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"tidings-replay", b"1"),
]


_CUT_SHORT = (
    CutShortError,
    BusUnavailableError,
    JetStreamError,
    AuthenticationError,
    ScopeMissingError,
    *POSTGRES_ERRORS,
)


class Offer(msgspec.Struct, frozen=True):
    """What each client is told, up to `end`; `speed` as `Pace` has it."""

    nats_url: str
    wanted: EventRange
    end: Cursor
    speed: float | None


class _Asked(msgspec.Struct, frozen=True):
    """By one client. `write`: a piece of the body."""

    authorization: str | None
    query: EventSourceQuery
    write: Callable[[bytes], Awaitable[None]]


class ReplayListener:
    """An ASGI application. Each connection is a replay of its own, from the start of the range.

    One that comes back with the id it had goes on behind it; at the end it is told to stay away.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        offer: Offer,
        authenticator: Authenticator,
        clock: Clock,
        draining: asyncio.Event,
    ) -> None:
        self._offer = offer
        self._wanted = offer.wanted
        self._end = offer.end
        self._clock = clock
        self._draining = draining
        self._authenticator = authenticator
        self._authority = Authority(pool, monotonic=clock.monotonic)
        self._connections = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = await self._refusal(scope)
        if isinstance(answer, Response):
            await answer(scope, receive, send)
            return
        self._connections += 1
        try:
            await self._stream(scope, answer, receive, send)
        finally:
            self._connections -= 1

    async def _refusal(self, scope: Scope) -> Response | EventSourceQuery:
        """Or what is asked for, by somebody who may."""
        if scope["path"] != PATH or scope["method"] != "GET":
            return PlainTextResponse(f"GET {PATH} is all there is\n", 404)
        if self._connections >= _CONNECTIONS_MAX:
            return PlainTextResponse("too many connections\n", 503)
        headers = _headers_of(scope)
        try:
            await self._authenticator.authenticate(headers.get("authorization"))
            asked = event_source_query(
                scope["query_string"].decode("latin-1"), headers.get("last-event-id")
            )
        except (AuthenticationError, ScopeMissingError) as error:
            return error.response()
        except (QueryError, *POSTGRES_ERRORS) as error:
            return _refused(error)
        if self._after(asked) >= self._end.sequence:
            return Response(status_code=204)  # an EventSource asks no more
        return asked

    def _after(self, asked: EventSourceQuery) -> int:
        cursor = None if asked.cursor is None else decode_cursor(asked.cursor)
        known = cursor.sequence if cursor is not None and cursor.epoch == self._end.epoch else 0
        return max(self._wanted.place.after, known)

    async def _stream(
        self, scope: Scope, query: EventSourceQuery, receive: Receive, send: Send
    ) -> None:
        gone = asyncio.Event()

        async def write(body: bytes) -> None:
            await send({"type": "http.response.body", "body": body, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(_watch(receive, gone), name="watch")
            try:
                async with cut_short_by(self._draining), cut_short_by(gone):
                    await self._replay(
                        _Asked(_headers_of(scope).get("authorization"), query, write)
                    )
            except _CUT_SHORT:
                pass  # the client comes back with the id it has, or may not any more
            watching.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _replay(self, asked: _Asked) -> None:
        """Raises AuthenticationError, ScopeMissingError once the credential is no longer good."""
        pace = Pace(self._offer.speed)
        place = msgspec.structs.replace(self._wanted.place, after=self._after(asked.query))
        async with (
            open_bus(self._offer.nats_url, name="replay") as bus,
            open_history(
                bus, place, is_endless=False, wants=self._wanted.filter.body_test()
            ) as history,
        ):
            async for batch in history.batches():
                for account_id, stored in batch:
                    if not self._wanted.filter.passes(account_id, stored):
                        continue
                    wait = pace.seconds_to_wait(stored.event.at, self._clock.monotonic())
                    await _wait(wait, asked)
                    changed = await self._visible(account_id, stored, asked)
                    if changed:
                        cursor = encode_cursor(Cursor(history.epoch, stored.sequence))
                        for frame in state_events(PushMessage({account_id: changed}, cursor)):
                            await asked.write(frame)
                    if changed and asked.query.closes_after_state:
                        return

    async def _visible(
        self, account_id: str, stored: StoredEvent, asked: _Asked
    ) -> Mapping[str, str]:
        """The states that may be told now."""
        credential = await self._authenticator.authenticate(asked.authorization)
        if account_id not in await self._authority.visible_accounts(credential.user_id):
            return {}
        return {
            name: state.state
            for name, state in stored.event.changed.items()
            if asked.query.types is None or name in asked.query.types
        }


def _refused(error: Exception) -> Response:
    if isinstance(error, QueryError):
        return PlainTextResponse(f"{error}\n", 400)
    return PlainTextResponse("the database does not answer now\n", 503)


async def _wait(seconds: float, asked: _Asked) -> None:
    ping_seconds = asked.query.ping_seconds
    while ping_seconds and seconds > ping_seconds:
        await asyncio.sleep(ping_seconds)
        await asked.write(ping_event(ping_seconds))
        seconds -= ping_seconds
    if seconds:
        await asyncio.sleep(seconds)


async def _watch(receive: Callable[[], Awaitable[Any]], gone: asyncio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()


def _headers_of(scope: Scope) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
