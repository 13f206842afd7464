"""POSTs to endpoints that nobody vouches for: bounded in time and in octets, and never inside.

Follows no redirect, keeps no cookie, unpacks no answer, asks no proxy of the environment. A client
of our own, since a general one costs more than all else of a delivery (docs/adr/0021).
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from services.webhooks.answers import (
    ANSWER_OCTETS_KEPT,
    Answer,
    Outcome,
    outcome_of_status,
    retry_after_seconds,
)
from services.webhooks.connections import Connection, KeptConnections, Origin
from services.webhooks.dialling import Dialler, Guard, LookUp, Resolver, SystemLookUp
from services.webhooks.failures import NoAnswerError, PostFailedError, no_answer_in_time
from services.webhooks.http1 import AnswerReader, request_octets
from services.webhooks.messages import PushRequest
from shared.runtime.clock import Clock, SystemClock
from shared.web_push.address_policy import Exemptions
from shared.web_push.endpoint import Endpoint, EndpointError, check_endpoint

_REASON_CHARACTERS_MAX = 200
_JUDGED_MAX = 10_000


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    deadline_seconds: float = 15.0  # for all of a request: DNS, dials, TLS, answer
    dns_seconds: float = 5.0
    addresses_remembered_seconds: int = 10
    requests_at_once_max: int = 256
    connections_kept_max: int = 1024
    connection_idle_seconds: float = 60.0
    connection_age_seconds: float = 300.0  # then its host is resolved and judged again


def client_tls(authorities: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer; `authorities`: a PEM file, trusted besides those of the system."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if authorities is not None:
        context.load_verify_locations(authorities)
    return context


@asynccontextmanager
async def open_push_client(
    exemptions: Exemptions,
    limits: ClientLimits,
    *,
    tls: ssl.SSLContext,
    look_up: LookUp | None = None,
    clock: Clock | None = None,
) -> AsyncIterator["PushClient"]:
    """`look_up`: how host names are resolved, else by the system."""
    clock = clock or SystemClock()
    kept = KeptConnections(
        age_seconds_max=limits.connection_age_seconds,
        idle_seconds_max=limits.connection_idle_seconds,
        count_max=limits.connections_kept_max,
        monotonic=clock.monotonic,
    )
    resolver = Resolver(
        exemptions,
        look_up or SystemLookUp(),
        seconds_max=limits.dns_seconds,
        remembered_seconds=limits.addresses_remembered_seconds,
    )
    try:
        dialler = Dialler(exemptions, resolver, kept.new_connection, tls)
        yield PushClient(dialler, kept, exemptions, limits, clock)
    finally:
        kept.close()


class PushClient:
    """Made by `open_push_client`; many tasks may post at once."""

    def __init__(
        self,
        dialler: Dialler,
        kept: KeptConnections,
        exemptions: Exemptions,
        limits: ClientLimits,
        clock: Clock,
    ) -> None:
        self._dialler = dialler
        self._kept = kept
        self._exemptions = exemptions
        self._deadline_seconds = limits.deadline_seconds
        self._slots = asyncio.Semaphore(limits.requests_at_once_max)
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._judged = set[Origin]()

    @property
    def kept_connections(self) -> int:
        """Idle, or busy with a request that is not their last."""
        return len(self._kept.kept)

    async def post(self, request: PushRequest, *, may_repeat: bool = False) -> Answer:
        """One request; whatever the endpoint does becomes an answer.

        `may_repeat`: twice does no harm. Then it may go out on a kept connection, and is sent again
        where that turns out to have ended, for which the endpoint is not to blame.
        """
        async with self._slots:
            begun, loop_time = self._clock.monotonic(), self._loop.time()
            guard, kept = self._dialler.guard(request.endpoint), None
            try:
                origin = self._judge(request.endpoint)
                octets = request_octets(request)
                kept = self._kept.take(origin) if may_repeat else None
                ends_at = loop_time + self._deadline_seconds
                reader = await self._exchange(request.endpoint, octets, guard, kept, ends_at)
            except PostFailedError as failure:
                return Answer(
                    outcome=failure.outcome,
                    reason=failure.reason[:_REASON_CHARACTERS_MAX],
                    milliseconds=self._milliseconds_since(begun),
                    has_dialled=guard.has_dialled,
                    was_kept=kept is not None,
                )
            return Answer(
                outcome=outcome_of_status(reader.status),
                status=reader.status,
                retry_after_seconds=self._retry_after(reader.retry_after),
                body=reader.body[:ANSWER_OCTETS_KEPT],
                milliseconds=self._milliseconds_since(begun),
                has_dialled=guard.has_dialled,
                was_kept=kept is not None,
            )

    async def _exchange(
        self,
        endpoint: Endpoint,
        octets: bytes,
        guard: Guard,
        kept: Connection | None,
        ends_at: float,
    ) -> AnswerReader:
        """Raises PostFailedError."""
        origin = _origin_of(endpoint)
        if kept is not None:
            try:
                return await self._ask(origin, kept, octets, ends_at)
            except NoAnswerError:
                pass  # and dial, in what is left of the time
        try:
            async with asyncio.timeout_at(ends_at):
                connection = await self._dialler.dial(endpoint, guard)
        except TimeoutError:
            raise no_answer_in_time() from None
        return await self._ask(origin, connection, octets, ends_at)

    async def _ask(
        self, origin: Origin, connection: Connection, octets: bytes, ends_at: float
    ) -> AnswerReader:
        """The answer's is lent: it is read before somebody else can ask the connection."""
        is_kept = self._kept.keep(connection)
        reader = await connection.ask(octets, ends_at)
        if is_kept:
            self._kept.give_back(origin, connection)
        else:
            connection.abort()
        return reader

    def _judge(self, endpoint: Endpoint) -> Origin:
        """As far as can be told before a dial, which judges the address; raises PostFailedError."""
        origin = _origin_of(endpoint)
        if origin in self._judged:
            return origin
        try:
            check_endpoint(endpoint, self._exemptions)
        except EndpointError as error:
            raise PostFailedError(Outcome.ADDRESS_BLOCKED, str(error)) from error
        if len(self._judged) >= _JUDGED_MAX:
            self._judged.clear()
        self._judged.add(origin)
        return origin

    def _milliseconds_since(self, begun: float) -> int:
        return round((self._clock.monotonic() - begun) * 1000)

    def _retry_after(self, text: str | None) -> int | None:
        return None if text is None else retry_after_seconds(text, self._clock.now())


def _origin_of(endpoint: Endpoint) -> Origin:
    return (endpoint.scheme, endpoint.host, endpoint.port)
