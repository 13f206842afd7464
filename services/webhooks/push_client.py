"""POSTs to endpoints that nobody vouches for: bounded in time and in octets, and never inside.

Follows no redirect, keeps no cookie, unpacks no answer, asks no proxy of the environment.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import msgspec
from yarl import URL

from services.webhooks.answers import (
    ANSWER_OCTETS_KEPT,
    Answer,
    Outcome,
    outcome_of_status,
    retry_after_seconds,
)
from services.webhooks.connections import (
    HEADER_OCTETS_MAX,
    HEADERS_MAX,
    Connector,
    KeptConnections,
)
from services.webhooks.dialling import Dial, Guard, LookUp, Resolver, SystemLookUp, current_dial
from services.webhooks.failures import failure
from services.webhooks.messages import PushRequest
from shared.runtime.clock import Clock, SystemClock
from shared.web_push.address_policy import Exemptions
from shared.web_push.endpoint import EndpointError, check_endpoint

_BODY_OCTETS_MAX = 2048  # read of an answer
_BODY_SECONDS = 1.0
_REASON_CHARACTERS_MAX = 200


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
    connector = Connector(
        kept,
        resolver=Resolver(exemptions, look_up or SystemLookUp(), seconds_max=limits.dns_seconds),
        socket_factory=Guard(exemptions),
        ssl=tls,
        ttl_dns_cache=limits.addresses_remembered_seconds,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # see PushClient
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={"Accept": "*/*", "Accept-Encoding": "identity"},
        read_bufsize=_BODY_OCTETS_MAX,
        max_line_size=HEADER_OCTETS_MAX,
        max_field_size=HEADER_OCTETS_MAX,
        max_headers=HEADERS_MAX,
    ) as session:
        yield PushClient(session, kept, exemptions, limits, clock)


class PushClient:
    """Made by `open_push_client`; many tasks may post at once."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        kept: KeptConnections,
        exemptions: Exemptions,
        limits: ClientLimits,
        clock: Clock,
    ) -> None:
        self._session = session
        self._kept = kept
        self._exemptions = exemptions
        self._deadline_seconds = limits.deadline_seconds
        self._slots = asyncio.Semaphore(limits.requests_at_once_max)
        self._clock = clock

    @property
    def kept_connections(self) -> int:
        """Idle, or busy with a request that is not their last."""
        return len(self._kept.connections)

    async def post(self, request: PushRequest, *, may_repeat: bool = False) -> Answer:
        """One request; whatever the endpoint does becomes an answer.

        `may_repeat`: twice does no harm. Then it is sent again where a kept connection turns out to
        have ended, for which the endpoint is not to blame.
        """
        async with self._slots:
            dial = Dial(request.endpoint.host)
            token = current_dial.set(dial)
            begun = self._clock.monotonic()
            ends_at = asyncio.get_running_loop().time() + self._deadline_seconds
            try:
                answer = await self._try(request, ends_at)
                if may_repeat and answer.outcome is Outcome.BROKEN and not dial.has_dialled:
                    answer = await self._try(request, ends_at)
            finally:
                current_dial.reset(token)
            return msgspec.structs.replace(
                answer,
                milliseconds=round((self._clock.monotonic() - begun) * 1000),
                has_dialled=dial.has_dialled,
            )

    async def _try(self, request: PushRequest, ends_at: float) -> Answer:
        try:
            check_endpoint(request.endpoint, self._exemptions)
            async with asyncio.timeout_at(ends_at):
                response = await self._session.post(
                    URL(request.endpoint.url, encoded=True),
                    data=request.body,
                    headers=request.headers,
                    allow_redirects=False,
                )
        except (EndpointError, aiohttp.ClientError, OSError) as error:
            outcome, reason = failure(error)
            return Answer(outcome=outcome, reason=reason[:_REASON_CHARACTERS_MAX])
        try:
            body = await _start_of_body(response, ends_at)
        finally:
            if not response.closed:
                response.close()  # and its connection: more would come
        return Answer(
            outcome=outcome_of_status(response.status),
            status=response.status,
            retry_after_seconds=self._retry_after(response.headers.get("Retry-After")),
            body=body[:ANSWER_OCTETS_KEPT],
        )

    def _retry_after(self, text: str | None) -> int | None:
        return None if text is None else retry_after_seconds(text, self._clock.now())


async def _start_of_body(response: aiohttp.ClientResponse, ends_at: float) -> bytes:
    """The status has decided already: a body that does not come is not waited for."""
    if response.content.is_eof():  # it came with the head
        return response.content.read_nowait(_BODY_OCTETS_MAX)
    read = b""
    ends_at = min(ends_at, asyncio.get_running_loop().time() + _BODY_SECONDS)
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout_at(ends_at):
            while len(read) < _BODY_OCTETS_MAX and not response.content.at_eof():
                read += await response.content.read(_BODY_OCTETS_MAX - len(read))
    return read
