"""Who may come in: admission, authentication, and what they may see, for both transports."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qsl

import msgspec
from starlette.responses import Response

from services.gateway.admission import Admission, FullError, Place
from shared.http.cross_origin import READABLE
from shared.http.request_line import log_request
from shared.runtime.clock import Clock
from shared.store.credentials import Credential
from shared.store.pool import POSTGRES_AWAY

Scope: TypeAlias = Mapping[str, Any]
_CHALLENGE = {"www-authenticate": 'Bearer realm="tidings"'}
EXPIRY_MARGIN_SECONDS = (1.0, 3.0)  # a stream ends this much before its credential does
DATABASE_SECONDS_MAX = 5.0  # to find out who somebody is
_LIFETIME_SPREAD = 0.2  # so that connections made together do not end together


class Authenticate(Protocol):
    async def __call__(self, authorization: str | None) -> Credential:
        """The credential of an Authorization header, which may be used here; raises Refusal."""
        ...


class RedeemTicket(Protocol):
    async def __call__(self, ticket: str) -> Credential | None:
        """The credential that a ticket stands for; it is used up. None for any other text."""
        ...


class Refusal(Exception):  # noqa: N818  an answer, not a failure
    """Is answered as problem details (RFC 7807)."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def response(self) -> Response:
        body = {"type": "about:blank", "status": self.status, "detail": self.detail}
        return Response(
            msgspec.json.encode(body),
            status_code=self.status,
            headers={"cache-control": "no-store", **READABLE, **self.headers},
            media_type="application/problem+json",
        )


class Visitor(msgspec.Struct, frozen=True):
    """Who came in; whoever gets one leaves its place."""

    credential: Credential
    place: Place


class Entrance:
    def __init__(
        self,
        admission: Admission,
        authenticate: Authenticate,
        redeem_ticket: RedeemTicket,
        clock: Clock,
        *,
        lifetime_seconds: float,
    ) -> None:
        self.is_closed = False  # the process drains
        self.refusals: Counter[str] = Counter()  # by status
        self._admission = admission
        self._authenticate = authenticate
        self._redeem_ticket = redeem_ticket
        self._clock = clock
        self._lifetime_seconds = lifetime_seconds

    async def enter(self, scope: Scope, ticket: str | None) -> Visitor:
        """Raises Refusal, and counts it; cheap refusals come before what asks a database."""
        try:
            return await self._enter(scope, ticket)
        except Refusal as refusal:
            self.refusals[str(refusal.status)] += 1
            raise

    async def _enter(self, scope: Scope, ticket: str | None) -> Visitor:
        if self.is_closed:
            raise Refusal(503, "this server is about to end", retry_after())
        address = (scope.get("client") or ("",))[0]
        try:
            place = self._admission.take(address)
        except FullError as error:
            raise refusal_of(error) from error
        try:
            credential = await self.authenticate(scope, ticket)
            place.take_for(credential.user_id)
        except FullError as error:
            place.leave()
            raise refusal_of(error) from error
        except BaseException:
            place.leave()
            raise
        return Visitor(credential, place)

    async def authenticate(self, scope: Scope, ticket: str | None) -> Credential:
        """By the header if there is one, else by the ticket; raises Refusal."""
        authorization = header(scope, b"authorization")
        async with database_answers():
            if authorization is not None or ticket is None:
                return await self._authenticate(authorization)
            credential = await self._redeem_ticket(ticket)
        if credential is None:
            raise Refusal(401, "the ticket is unknown, used or expired", _CHALLENGE)
        return credential

    def lifetime_seconds(self, credential: Credential) -> float:
        """Of a new connection: until its credential expires, and at most its own."""
        lifetime = self._lifetime_seconds * random.uniform(1 - _LIFETIME_SPREAD, 1)  # noqa: S311
        if credential.expires_at is None:
            return lifetime
        left = (credential.expires_at - self._clock.now()).total_seconds()
        return min(lifetime, max(0.0, left - random.uniform(*EXPIRY_MARGIN_SECONDS)))  # noqa: S311


@asynccontextmanager
async def database_answers() -> AsyncIterator[None]:
    """In time, or else who asks is told to come back; raises Refusal."""
    try:
        async with asyncio.timeout(DATABASE_SECONDS_MAX):
            yield
    except POSTGRES_AWAY as error:
        raise Refusal(503, "the database does not answer now", retry_after()) from error


def log_refusal(scope: Scope, refusal: Refusal, seconds: float) -> None:
    """Who is let in has a line when the connection ends; who is not has this one."""
    facts = {
        "http_method": scope["method"],
        "detail": str(refusal),
        "remote_address": (scope.get("client") or ("",))[0],
    }
    # The path is one of our routes, which have no parameters in it.
    log_request("http", scope["path"], refusal.status, seconds, trace=None, facts=facts)


def refusal_of(error: FullError) -> Refusal:
    return Refusal(error.status, str(error), retry_after())


def retry_after() -> Mapping[str, str]:
    """Jittered, so that the refused do not come back as one crowd."""
    return {"retry-after": str(random.randint(1, 5))}  # noqa: S311  no secret


def header(scope: Scope, name: bytes) -> str | None:
    """The first of the name, as text."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return None


def headers_of(scope: Scope, name: bytes) -> list[str]:
    """All of the name, each of which may be a list with commas."""
    values = (str(value, "latin-1") for key, value in scope["headers"] if key == name)
    return [token.strip() for value in values for token in value.split(",")]


def ticket_of(query: str) -> str | None:
    """Read alone, because who is not authenticated is told nothing else."""
    if "ticket" not in query:
        return None
    try:
        return dict(parse_qsl(query, max_num_fields=32)).get("ticket")
    except ValueError:
        return None
