"""Push subscriptions: what they wait for, and what an operator does about it."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import asyncpg
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.console.endpoints import Endpoint, Parameter
from services.console.entrance import Answer, Operator, json_answer
from services.console.query import Query, plain
from shared.bus.connection import Bus, BusUnavailableError
from shared.bus.control import ControlMessage, send_control
from shared.operate.subscriptions import (
    SubscriptionDetails,
    SubscriptionFacts,
    subscription_details,
    subscription_facts,
)
from shared.store.lane_admin import (
    list_lanes,
    pause_lane,
    probe_lane,
    read_lane,
    resume_lane,
    resync_lane,
)
from shared.web_push.sealing import Vault

LIMIT = 100
LIMIT_MAX = 1_000
STATES = ("unverified", "paused", "converged", "failing", "behind")

_LISTED = (
    Parameter("user", "Of this user, by id or name."),
    Parameter("state", f"One of: {', '.join(STATES)}."),
    Parameter("limit", f"At most so many: {LIMIT}, or up to {LIMIT_MAX}.", "number"),
)
_Change = Callable[[asyncpg.Pool, str], Awaitable[None]]
_CHANGES: Sequence[tuple[str, str, _Change]] = (
    ("pause", "Send it nothing until it is resumed; nothing is lost.", pause_lane),
    ("resume", "Go on with a paused one, or with one that backs off, at once.", resume_lane),
    ("probe", "Try now what waits for its backoff.", probe_lane),
    (
        "resync",
        "Tell it the newest state of everything, as if it were new.",
        resync_lane,
    ),
)


class Subscriptions(msgspec.Struct, frozen=True):
    """Those behind for the longest first, then the newest."""

    subscriptions: Sequence[SubscriptionFacts]


class SubscriptionRoutes:
    def __init__(self, pool: asyncpg.Pool, bus: Bus, vault: Vault) -> None:
        self._pool = pool
        self._bus = bus
        self._vault = vault

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="GET",
                path="/subscriptions",
                name="listSubscriptions",
                meaning="Push subscriptions and their lanes.",
                answer=self._list,
                parameters=_LISTED,
                result=Subscriptions,
            ),
            Endpoint(
                method="GET",
                path="/subscriptions/{id}",
                name="showSubscription",
                meaning="One of them, with its last attempts.",
                answer=self._show,
                result=SubscriptionDetails,
            ),
            *(
                Endpoint(
                    method="POST",
                    path=f"/subscriptions/{{id}}/{verb}",
                    name=f"{verb}Subscription",
                    meaning=meaning,
                    answer=self._changing(change),
                    result=SubscriptionFacts,
                    action=f"subscription {verb}",
                )
                for verb, meaning, change in _CHANGES
            ),
        )

    async def _list(self, request: Request, operator: Operator) -> Response:
        del operator
        query = Query(request.query_params.multi_items(), _LISTED)
        lanes = await list_lanes(
            self._pool,
            lanes_max=query.number("limit", default=LIMIT, maximum=LIMIT_MAX),
            user=query.text("user"),
            state=query.choice("state", STATES),
        )
        return json_answer(Subscriptions([subscription_facts(lane) for lane in lanes]))

    async def _show(self, request: Request, operator: Operator) -> Response:
        del operator
        return json_answer(await subscription_details(self._pool, self._vault, id_of(request)))

    def _changing(self, change: _Change) -> Answer:
        async def answer(request: Request, operator: Operator) -> Response:
            del operator
            subscription_id = id_of(request)
            await change(self._pool, subscription_id)
            # A hint: who does not hear of it looks a few seconds later.
            with suppress(BusUnavailableError):
                await send_control(self._bus, ControlMessage(webhooks_due=True))
            return json_answer(subscription_facts(await read_lane(self._pool, subscription_id)))

        return answer


def id_of(request: Request) -> str:
    """Of the path. Raises Refusal."""
    return plain("the id", request.path_params["id"])
