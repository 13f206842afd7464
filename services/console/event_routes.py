"""The history of the log, and events as they come."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.console.account_names import AccountNames
from services.console.credential_watch import LOOK_SECONDS, CredentialWatch
from services.console.endpoints import Endpoint, Parameter
from services.console.entrance import Entrance, Operator, json_answer
from services.console.event_history import EventHistory
from services.console.live_events import (
    LiveEvents,
    ShownEvent,
    Viewer,
    ViewersFullError,
    event_message,
    shown_event,
)
from services.console.query import Query
from services.console.refusals import RETRY_SECONDS, Refusal
from services.console.taken_stream import TakenStream
from shared.bus.connection import BusUnavailableError
from shared.bus.jetstream import JetStreamError
from shared.log.cursor import Cursor, decode_cursor
from shared.log.event_filter import EventFilter
from shared.log.history import LogEnd, Range
from shared.operate.event_lines import EventLine
from shared.operate.event_range import EventRange, RangeOptions, event_range
from shared.runtime.clock import Clock
from shared.store.people import find_account
from shared.store.pool import POSTGRES_ERRORS

LIMIT = 100
LIMIT_MAX = 500
_MISSED_MAX = 1_000  # of a viewer that comes back; older ones are dropped and counted
_HEARTBEAT_SECONDS = 15.0

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_FILTERS = (
    Parameter("account", "Of this account only, by id or name."),
    Parameter("type", "That changed one of these types.", "many"),
    Parameter("method", "Made by one of these methods, as Email/set.", "many"),
)
_RANGE = (
    *_FILTERS,
    Parameter("principal", "Made by this user, by id or name."),
    Parameter("since", "From then on: 2h ago as 2h, or 2026-01-31T12:00:00Z."),
    Parameter("until", "Before then, in the same form."),
    Parameter("after", "What came after this cursor."),
    Parameter("before", "What came before this cursor."),
    Parameter("limit", f"At most so many: {LIMIT}, or up to {LIMIT_MAX}.", "number"),
)


class Events(msgspec.Struct, frozen=True):
    """Newest first. `next`: go on with this as `before`, also without events; null: at the end."""

    events: Sequence[ShownEvent]
    next: str | None


class EventRoutes:
    def __init__(
        self,
        pool: asyncpg.Pool,
        entrance: Entrance,
        history: EventHistory,
        live: LiveEvents,
        names: AccountNames,
        clock: Clock,
    ) -> None:
        self._pool = pool
        self._entrance = entrance
        self._history = history
        self._live = live
        self._names = names
        self._clock = clock

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="GET",
                path="/events",
                name="listEvents",
                meaning="The events of the log, newest first.",
                answer=self._list,
                parameters=_RANGE,
                result=Events,
            ),
            Endpoint(
                method="GET",
                path="/events/stream",
                name="streamEvents",
                meaning="Events as they come: `event` with one each; `dropped` with the count of "
                "those that the viewer did not take in time, null where nobody counted; `live` "
                "whether the log is followed just now; `ended` with the reason. With "
                "Last-Event-ID it begins behind that cursor.",
                answer=self._stream,
                parameters=_FILTERS,
                result=ShownEvent,
                result_type="text/event-stream",
            ),
        )

    async def newest_of(self, account_id: str, limit: int) -> Sequence[ShownEvent]:
        """Raises BusUnavailableError, JetStreamError."""
        wanted = EventRange(Range(account_id=account_id), EventFilter())
        found = await self._history.newest(wanted, await self._history.span(), limit)
        return await self._shown(found.events)

    async def _list(self, request: Request, operator: Operator) -> Response:
        del operator
        query = Query(request.query_params.multi_items(), _RANGE)
        limit = query.number("limit", default=LIMIT, maximum=LIMIT_MAX)
        span = await self._history.span()
        options = RangeOptions(
            account=query.text("account"),
            types=query.many("type"),
            methods=query.many("method"),
            principal=query.text("principal"),
            since=query.text("since"),
            until=query.text("until"),
            after=query.text("after"),
            before=query.text("before"),
        )
        wanted = await event_range(self._pool, options, span.end, self._clock.now())
        found = await self._history.newest(wanted, span, limit)
        return json_answer(Events(await self._shown(found.events), found.next))

    async def _shown(self, events: Sequence[EventLine]) -> list[ShownEvent]:
        names = await self._names.of({line.account for line in events})
        return [shown_event(line, names[line.account]) for line in events]

    async def _stream(self, request: Request, operator: Operator) -> Response:
        query = Query(request.query_params.multi_items(), _FILTERS)
        account = query.text("account")
        account_id = None if account is None else await find_account(self._pool, account)
        types, methods = query.many("type"), query.many("method")
        wanted = EventFilter(
            account_ids=None if account_id is None else frozenset({account_id}),
            types=None if types is None else frozenset(types),
            methods=None if methods is None else frozenset(methods),
        )
        if self._live.is_full:
            raise Refusal(503, "Too many people look at once.", {"Retry-After": RETRY_SECONDS})
        await self._live.started()
        last_seen = decode_cursor(request.headers.get("last-event-id", ""))
        pieces = self._pieces(_Asked(operator, wanted, account_id, last_seen))
        return TakenStream(pieces, headers=_HEADERS, media_type="text/event-stream")

    async def _pieces(self, asked: "_Asked") -> AsyncGenerator[bytes]:
        yield b"retry: 2000\n\n"
        try:
            with self._live.viewing(asked.wanted) as viewer:
                place = self._live.place
                if asked.last_seen is not None:
                    for piece in await self._missed(asked, asked.last_seen, place):
                        yield piece
                async for piece in self._live_pieces(viewer, asked.operator, place):
                    yield piece
        except ViewersFullError:
            yield _ended("full")
        except (BusUnavailableError, JetStreamError, *POSTGRES_ERRORS):
            yield _ended("unavailable")

    async def _missed(self, asked: "_Asked", last_seen: Cursor, place: LogEnd) -> list[bytes]:
        """What came since a viewer was here last, so far as it is not too much."""
        if last_seen.epoch != place.epoch:
            return [_dropped(None)]
        wanted = EventRange(
            Range(after=last_seen.sequence, before=place.sequence + 1, account_id=asked.account_id),
            asked.wanted,
        )
        if last_seen.sequence >= place.sequence:
            return []
        found = await self._history.newest(wanted, await self._history.span(), _MISSED_MAX)
        shown = [event_message(one) for one in await self._shown(found.events[::-1])]
        return shown if found.next is None else [_dropped(None), *shown]

    async def _live_pieces(
        self, viewer: Viewer, operator: Operator, place: LogEnd
    ) -> AsyncIterator[bytes]:
        watch = CredentialWatch(self._entrance, operator, self._clock)
        was_live, heard_at = True, self._clock.monotonic()
        while not viewer.is_closed:
            waiting, dropped = await viewer.take(LOOK_SECONDS)
            pieces = [message for sequence, message in waiting if sequence > place.sequence]
            if dropped:
                pieces.append(_dropped(dropped))
            if was_live != self._live.is_live:
                was_live = not was_live
                pieces.append(_message("live", {"live": was_live}))
            if self._clock.monotonic() > heard_at + _HEARTBEAT_SECONDS:
                pieces.append(b":\n\n")
            if pieces:
                heard_at = self._clock.monotonic()
                yield b"".join(pieces)
            if not await watch.is_good():
                yield _ended("loggedOut")
                return
        yield _ended("draining")


class _Asked(msgspec.Struct, frozen=True):
    operator: Operator
    wanted: EventFilter
    account_id: str | None
    last_seen: Cursor | None


def _ended(reason: str) -> bytes:
    return _message("ended", {"reason": reason})


def _dropped(count: int | None) -> bytes:
    return _message("dropped", {"count": count})


def _message(event: str, data: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(data))
