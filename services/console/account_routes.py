"""One account: its states, who sees it, its newest events."""

from collections.abc import Sequence

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.console.endpoints import Endpoint, Parameter
from services.console.entrance import Operator, json_answer
from services.console.event_routes import EventRoutes
from services.console.live_events import ShownEvent
from services.console.query import Query
from services.console.subscription_routes import id_of
from shared.store.account_view import GrantView, read_account
from shared.store.people import find_account

EVENTS = 50
EVENTS_MAX = 500

_SHOWN = (
    Parameter("events", f"At most so many: {EVENTS}, or up to {EVENTS_MAX}; 0: none.", "number"),
)


class AccountShown(msgspec.Struct, frozen=True):
    """`states`: type -> state, as the database has them; `events`: the newest first."""

    id: str
    name: str
    states: dict[str, str]
    grants: Sequence[GrantView]
    events: Sequence[ShownEvent]


class AccountRoutes:
    def __init__(self, pool: asyncpg.Pool, events: EventRoutes) -> None:
        self._pool = pool
        self._events = events

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="GET",
                path="/accounts/{id}",
                name="showAccount",
                meaning="An account, by id or name.",
                answer=self._show,
                parameters=_SHOWN,
                result=AccountShown,
            ),
        )

    async def _show(self, request: Request, operator: Operator) -> Response:
        del operator
        query = Query(request.query_params.multi_items(), _SHOWN)
        count = query.number("events", default=EVENTS, minimum=0, maximum=EVENTS_MAX)
        account_id = await find_account(self._pool, id_of(request))
        found = await read_account(self._pool, account_id)
        return json_answer(
            AccountShown(
                id=account_id,
                name=found.name,
                states=found.states,
                grants=found.grants,
                events=await self._events.newest_of(account_id, count) if count else (),
            )
        )
