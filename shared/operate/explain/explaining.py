"""Why an event was, or was not, told to somebody: reads the evidence, asks the rules (adr 18)."""

from datetime import datetime
from typing import assert_never

import asyncpg
import msgspec

from shared.bus.connection import Bus
from shared.bus.jetstream import JetStream
from shared.operate.explain.case import Case
from shared.operate.explain.connection_case import ConnectionCase
from shared.operate.explain.connections import judge_connection
from shared.operate.explain.ended import judge_ended_subscription
from shared.operate.explain.evidence import AccessEvidence, EventEvidence, MergingEvidence
from shared.operate.explain.findings import event_shown, event_steps
from shared.operate.explain.read_connections import ConnectionEvidence, ConnectionReader
from shared.operate.explain.read_event import EventReader, NoEvent
from shared.operate.explain.read_receivers import ReceiverReader
from shared.operate.explain.subscriptions import judge_subscription
from shared.operate.explain.summary import (
    but_one_that_ended_before,
    gateway_silent,
    more_connections,
    no_receiver,
    nothing_known,
    summed_up,
)
from shared.operate.explain.words import (
    AllOfUser,
    ByAccount,
    Explanation,
    OneConnection,
    OneSubscription,
    Question,
    Receiver,
    Receivers,
    Verdict,
    WhichEvent,
)
from shared.operate.gateways import UnknownConnectionError
from shared.web_push.sealing import Vault


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What an explanation reads; `bus` None: NATS cannot be reached."""

    pool: asyncpg.Pool
    bus: Bus | None
    vault: Vault | None = None  # opens what endpoints answered
    by: str = "tidings explain"  # who asks, for the logs of the gateways
    origin_at_once_max: int = 100  # TIDINGS_WEBHOOK_ORIGIN_AT_ONCE_MAX of the deliverers


async def explain(resources: Resources, question: Question) -> Explanation:
    """Raises UnknownNameError, BusUnavailableError, POSTGRES_ERRORS."""
    return await _Explainer(resources).explain(question)


class _Asked(msgspec.Struct, frozen=True):
    """Whom it is about; `user_id` None: nobody knows."""

    receiver: Receiver
    user_id: str | None
    connection: ConnectionEvidence | None = None
    is_silent: bool = False  # the gateway that would know


class _Explainer:
    def __init__(self, resources: Resources) -> None:
        bus = resources.bus
        self._origin_at_once_max = resources.origin_at_once_max
        self._events = EventReader(resources.pool, None if bus is None else JetStream(bus))
        self._receivers = ReceiverReader(resources.pool, resources.vault)
        self._connections = ConnectionReader(bus, by=resources.by)

    async def explain(self, question: Question) -> Explanation:
        """Who is nearer to the receiver is read later, so that nothing seems to be lost between."""
        asked = await self._asked(question.receivers)
        event = await self._event(question.event, asked.user_id)
        if isinstance(event, NoEvent):
            verdict = nothing_known(asked.receiver, event.reason, event.headline)
            return summed_up(None, (verdict,), await self._receivers.now())
        merging = MergingEvidence(None)
        if event.sequence is not None and asked.receiver.kind != "connection":
            merging = await self._events.merging()
        way = _Way(event, merging, await self._receivers.now())
        verdicts = await self._verdicts(way, asked)
        if not verdicts:
            verdicts = (no_receiver(asked.receiver, event_steps(event)),)
        return summed_up(event_shown(event), verdicts, way.now)

    async def _asked(self, receivers: Receivers) -> "_Asked":
        match receivers:
            case OneSubscription(id=subscription_id):
                user_id = await self._receivers.user_of(subscription_id)
                return _Asked(Receiver(kind="subscription", id=subscription_id), user_id)
            case OneConnection(id=connection_id):
                return await self._asked_connection(connection_id)
            case AllOfUser(user=name):
                user = await self._receivers.user(name)
                return _Asked(Receiver(kind="user", id=user.id, user=user.name), user.id)
            case _:
                assert_never(receivers)

    async def _event(self, which: WhichEvent, user_id: str | None) -> EventEvidence | NoEvent:
        if isinstance(which, ByAccount):
            return await self._events.by_account(which)
        accounts = [] if user_id is None else await self._receivers.accounts(user_id)
        return await self._events.by_cursor(which, accounts)

    async def _asked_connection(self, connection_id: str) -> "_Asked":
        receiver = Receiver(kind="connection", id=connection_id)
        try:
            found = await self._connections.connection(connection_id)
        except UnknownConnectionError as error:
            return _Asked(receiver, None, is_silent=not error.is_gateway_there)
        return _Asked(receiver, found.details.user, connection=found)

    async def _verdicts(self, way: "_Way", asked: "_Asked") -> tuple[Verdict, ...]:
        """None where nobody is there to be told."""
        if asked.receiver.kind == "user":
            return await self._of_user(way, asked)
        if asked.connection is not None:
            access = await self._access(way, asked.connection.details.user)
            return (_of_connection(way, asked.connection, access),)
        if asked.is_silent:
            return (gateway_silent(asked.receiver, event_steps(way.event)),)
        if asked.user_id is None:
            return ()
        access = await self._access(way, asked.user_id)
        found = await self._of_subscription(way, asked.receiver.id, access)
        return () if found is None else (found,)

    async def _of_user(self, way: "_Way", asked: "_Asked") -> tuple[Verdict, ...]:
        """Of what ended before the event only the last of each kind."""
        user_id = asked.user_id or ""
        access = await self._access(way, user_id)
        verdicts: list[Verdict] = []
        for subscription_id in await self._receivers.subscription_ids(user_id):
            found = await self._of_subscription(way, subscription_id, access)
            if found is not None:
                verdicts.append(found)
        verdicts += but_one_that_ended_before(
            judge_ended_subscription(way.event, ended, access, way.now)
            for ended in await self._receivers.ended_subscriptions(user_id)
        )
        of_user = await self._connections.of_user(user_id)
        verdicts += but_one_that_ended_before(
            _of_connection(way, found, access) for found in of_user.connections
        )
        if of_user.silent or not of_user.is_any_gateway_there:
            steps = event_steps(way.event)
            verdicts.append(gateway_silent(asked.receiver, steps, of_user.silent))
        if of_user.is_more:
            verdicts.append(more_connections(asked.receiver, len(of_user.connections)))
        return tuple(verdicts)

    async def _of_subscription(
        self, way: "_Way", subscription_id: str, access: AccessEvidence
    ) -> Verdict | None:
        found = await self._receivers.subscription(subscription_id)
        if found is not None:
            case = Case(
                event=way.event,
                subscription=found,
                access=access,
                merging=way.merging,
                now=way.now,
                origin_at_once_max=self._origin_at_once_max,
            )
            return judge_subscription(case)
        ended = await self._receivers.ended_subscription(subscription_id)
        if ended is None:
            return None
        return judge_ended_subscription(way.event, ended, access, way.now)

    async def _access(self, way: "_Way", user_id: str) -> AccessEvidence:
        return await self._receivers.access(user_id, way.event.account_id)


class _Way(msgspec.Struct, frozen=True):
    """How far an event came on the way that all receivers share."""

    event: EventEvidence
    merging: MergingEvidence
    now: datetime


def _of_connection(way: _Way, found: ConnectionEvidence, access: AccessEvidence) -> Verdict:
    return judge_connection(
        ConnectionCase(
            event=way.event,
            connection=found.details,
            access=access,
            gateway_cursor=found.gateway_cursor,
            now=way.now,
        )
    )
