"""Who asks: a login's cookie, or a token of a script; and what was asked for, within bounds."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.console.logins import FailedLogins
from services.console.refusals import Refusal
from services.console.sessions import (
    COOKIE,
    TOKEN_CHARACTERS_MAX,
    Session,
    Sessions,
    set_cookie,
)
from services.console.settings import ConsoleSettings
from shared.http.authentication import AuthenticationError, Authenticator, ScopeMissingError
from shared.http.request_line import asker_facts
from shared.runtime.clock import Clock, utc_text
from shared.store.credentials import Credential
from shared.store.pool import POSTGRES_ERRORS
from shared.web_push.sealing import Vault

SCOPE = "operate"
OWN_HEADER = "tidings-console"
BODY_OCTETS_MAX = 16_384
_SAFE_METHODS = ("GET", "HEAD")

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Operator(msgspec.Struct, frozen=True):
    """Who asks. `authorization` is for looking again later; `session` None: without a cookie."""

    credential: Credential
    authorization: str
    session: Session | None

    @property
    def name(self) -> str:
        """For the logs of others."""
        return f"{self.credential.user_name} ({self.credential.id})"


Answer: TypeAlias = Callable[[Request, Operator], Awaitable[Response]]


class LoggedIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`expires`: of the session, or else of the token; null: never."""

    user: str
    user_id: str
    credential: str
    expires: str | None


class Token(msgspec.Struct, frozen=True):
    """What a login gives."""

    token: str


class Entrance:
    """Cookies are sent by browsers on their own, so what changes something needs a header, too."""

    def __init__(
        self,
        authenticator: Authenticator,
        vault: Vault,
        clock: Clock,
        settings: ConsoleSettings,
    ) -> None:
        self._authenticator = authenticator
        self._sessions = Sessions(vault, seconds=settings.session_seconds)
        self._failed = FailedLogins(max_per_minute=settings.logins_per_minute_max)
        self._clock = clock
        self._is_behind_proxy = settings.behind_proxy

    async def operator(self, request: Request) -> Operator:
        """Raises AuthenticationError, ScopeMissingError, Refusal."""
        given = request.headers.get("authorization")
        if given is not None:
            if not given.lower().startswith("bearer "):  # browsers send Basic by themselves
                _require_own_header(request)
            credential = await self._authenticator.authenticate(given, scope=SCOPE)
            return Operator(credential, given, None)
        session = self._session(request)
        if session is None:
            raise AuthenticationError("Log in: the session is over.", is_invalid=False)
        _require_own_header(request)
        authorization = f"Bearer {session.token}"
        credential = await self._authenticator.authenticate(authorization, scope=SCOPE)
        return Operator(credential, authorization, session)

    async def is_still_in(self, operator: Operator) -> bool:
        """For streams, which outlive their request; raises POSTGRES_ERRORS."""
        if operator.session is not None and operator.session.is_over(self._clock.now()):
            return False
        try:
            await self._authenticator.authenticate(operator.authorization, scope=SCOPE)
        except (AuthenticationError, ScopeMissingError):
            return False
        return True

    async def log_in(self, request: Request) -> Response:
        """Raises Refusal, POSTGRES_AWAY."""
        address = address_of(request, is_behind_proxy=self._is_behind_proxy)
        token = (await read_json(request, Token)).token.strip()
        now = self._clock.monotonic()
        if wait := self._failed.seconds_to_wait(address, now):
            raise Refusal(
                429, "Too many failed logins: wait a little.", {"Retry-After": str(math.ceil(wait))}
            )
        self._failed.note(address, now)  # at once: many at a time are no way round
        try:
            credential = await self._credential(token)
        except AuthenticationError as error:
            _log.warning(
                "console_login_refused", extra={"address": address, "reason": error.detail}
            )
            return error.response()
        except POSTGRES_ERRORS:
            self._failed.take_back(address, now)
            raise
        self._failed.take_back(address, now)
        session = self._sessions.begin(token, credential, self._clock.now())
        _log.info(
            "console_login",
            extra={"address": address, **asker_facts(credential)},
        )
        response = self._answer(credential, session)
        seconds = int(session.ends_at - self._clock.now().timestamp())
        cookie = self._sessions.cookie(session)
        set_cookie(response, cookie, max(1, seconds), is_secure=is_secure(request))
        return response

    async def who(self, request: Request, operator: Operator) -> Response:
        del request
        return self._answer(operator.credential, operator.session)

    async def log_out(self, request: Request) -> Response:
        """Also where nobody is logged in. Raises Refusal."""
        _require_own_header(request)
        response = Response(status_code=204)
        set_cookie(response, "", 0, is_secure=is_secure(request))
        return response

    async def _credential(self, token: str) -> Credential:
        """Raises AuthenticationError."""
        if not 0 < len(token) <= TOKEN_CHARACTERS_MAX:
            raise AuthenticationError(
                f"The token must have 1 to {TOKEN_CHARACTERS_MAX} characters.", is_invalid=True
            )
        try:
            return await self._authenticator.authenticate(f"Bearer {token}", scope=SCOPE)
        except ScopeMissingError as error:
            raise AuthenticationError(str(error), is_invalid=True) from error

    def _session(self, request: Request) -> Session | None:
        cookie = request.cookies.get(COOKIE)
        return None if cookie is None else self._sessions.open(cookie, self._clock.now())

    @staticmethod
    def _answer(credential: Credential, session: Session | None) -> Response:
        end = credential.expires_at if session is None else session.end
        return json_answer(
            LoggedIn(
                user=credential.user_name,
                user_id=credential.user_id,
                credential=credential.id,
                expires=None if end is None else utc_text(end),
            )
        )


def json_answer(body: object, status: int = 200) -> Response:
    content = msgspec.json.encode(body)
    headers = {"Cache-Control": "no-store"}
    return Response(content, status, headers, "application/json")


async def read_json(request: Request, type_: type[T]) -> T:
    """Raises Refusal."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refusal(415, "Send application/json.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_OCTETS_MAX:
            raise Refusal(413, f"A request has at most {BODY_OCTETS_MAX:,} octets.")
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"{error}."[:500]) from error


def _require_own_header(request: Request) -> None:
    """No other site's page can send it. Raises Refusal."""
    if request.method not in _SAFE_METHODS and request.headers.get(OWN_HEADER) != "1":
        raise Refusal(403, "Send the header Tidings-Console: 1 with what changes something.")


def address_of(request: Request, *, is_behind_proxy: bool) -> str:
    """Behind a proxy the one that it saw, which is the last of X-Forwarded-For."""
    told = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    if is_behind_proxy and told:
        return told[:64]
    return request.client.host if request.client else ""


def is_secure(request: Request) -> bool:
    """A header that lies harms nobody but its sender."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
