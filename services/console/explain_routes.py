"""Why an event did, or did not, arrive at somebody (docs/adr/0018)."""

from collections.abc import Sequence
from typing import Annotated

import asyncpg
import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from services.console.endpoints import Endpoint
from services.console.entrance import Operator, json_answer, read_json
from services.console.query import plain
from services.console.refusals import Refusal
from shared.bus.connection import Bus
from shared.operate.event_range import moment_of
from shared.operate.explain.explaining import Resources, explain
from shared.operate.explain.words import (
    AllOfUser,
    ByAccount,
    Explanation,
    OneConnection,
    OneSubscription,
    Question,
    Receivers,
    WhichEvent,
    event_named,
)
from shared.runtime.clock import Clock
from shared.web_push.sealing import Vault

Text = Annotated[str, Meta(max_length=300)]


class Asked(msgspec.Struct, frozen=True):
    """An event or an account, and one of subscription, connection, user.

    `event` is a cursor or a sequence; of an account it is the newest, of `type` where that is
    given, and none before `since`, which is a span or a time.
    """

    event: Text | None = None
    account: Text | None = None
    subscription: Text | None = None
    connection: Text | None = None
    user: Text | None = None
    type: Text | None = None
    since: Text | None = None


class ExplainRoutes:
    def __init__(
        self, pool: asyncpg.Pool, bus: Bus, vault: Vault, clock: Clock, *, origin_at_once_max: int
    ) -> None:
        self._pool = pool
        self._bus = bus
        self._vault = vault
        self._clock = clock
        self._origin_at_once_max = origin_at_once_max

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint(
                method="POST",
                path="/explain",
                name="explain",
                meaning="Why an event did, or did not, arrive at somebody, and what to do.",
                answer=self._explain,
                body=Asked,
                result=Explanation,
            ),
        )

    async def _explain(self, request: Request, operator: Operator) -> Response:
        asked = await read_json(request, Asked)
        for name in asked.__struct_fields__:
            plain(name, getattr(asked, name) or "")
        question = Question(self._event(asked), _receivers(asked))
        resources = Resources(
            pool=self._pool,
            bus=self._bus if self._bus.is_connected else None,
            vault=self._vault,
            by=operator.name,
            origin_at_once_max=self._origin_at_once_max,
        )
        return json_answer(await explain(resources, question))

    def _event(self, asked: Asked) -> WhichEvent:
        since = moment_of(asked.since or None, "since", self._clock.now())
        match (asked.event or None, asked.account or None):
            case (str(event), None):
                which = event_named(event, type_=asked.type or None, since=since)
            case (None, str(account)):
                which = ByAccount(account=account, type=asked.type or None, since=since)
            case _:
                raise Refusal(400, "Say which event: one of event and account.")
        if (asked.type or asked.since) and not isinstance(which, ByAccount):
            raise Refusal(400, "type and since choose an event of an account: give that.")
        return which


def _receivers(asked: Asked) -> Receivers:
    match (asked.subscription or None, asked.connection or None, asked.user or None):
        case (str(subscription), None, None):
            return OneSubscription(subscription)
        case (None, str(connection), None):
            return OneConnection(connection)
        case (None, None, str(user)):
            return AllOfUser(user)
        case _:
            raise Refusal(400, "Say whom it is about: one of subscription, connection and user.")
