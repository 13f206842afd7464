"""Around every endpoint: who is asking, which problem to answer with, and what browsers may do."""

import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from shared.http.authentication import AuthenticationError, Authenticator, ScopeMissingError
from shared.http.cross_origin import READABLE, answer_preflight
from shared.http.problem_details import problem, problem_response
from shared.http.request_line import asker_facts, log_request
from shared.jmap.errors import RequestError, limit_exceeded
from shared.runtime.clock import Clock
from shared.runtime.logs import correlated
from shared.runtime.metrics import Metric, Metrics
from shared.runtime.traces import Span, SpanKind, Traces
from shared.store.credentials import Credential
from shared.store.pool import POSTGRES_AWAY

_log = logging.getLogger(__name__)

_LATER = (429, 503)
_SERVER_ERROR = 500

Answer = Callable[[Request, Credential], Awaitable[Response]]


class Guard:
    """Makes routes of answers that know their credential."""

    def __init__(
        self, authenticator: Authenticator, clock: Clock, metrics: Metrics, traces: Traces
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._metrics = metrics
        self._traces = traces

    def route(self, path: str, answer: Answer, *, methods: list[str], scope: str = "jmap") -> Route:
        async def respond(request: Request) -> Response:
            if request.method == "OPTIONS":
                return await answer_preflight(request)
            request.state.request_id = secrets.token_hex(8)
            # Several are none (W3C Trace Context section 3.2), as they are no traceparent together.
            traceparent = ",".join(request.headers.getlist("traceparent"))
            request.state.trace = self._traces.received(traceparent)
            request.state.facts = {}  # for the line of the log, by whoever knows them
            begun = self._clock.monotonic()
            with correlated(request_id=request.state.request_id):
                response = await self._respond(request, answer, scope)
                self._note(path, request, response, self._clock.monotonic() - begun)
            response.headers["X-Request-Id"] = request.state.request_id
            for name, value in READABLE.items():
                response.headers[name] = value
            return response

        return Route(path, _Endpoint(respond), methods=[*methods, "OPTIONS"])

    def _note(self, path: str, request: Request, response: Response, seconds: float) -> None:
        status, trace = response.status_code, request.state.trace
        self._metrics.count(Metric.HTTP_REQUESTS, route=path, status=str(status))
        self._metrics.observe(Metric.HTTP_REQUEST_SECONDS, seconds, route=path)
        facts = {
            "http_method": request.method,
            **request.state.facts,
            "octets_in": int(request.headers.get("content-length") or 0),
            "octets_out": int(response.headers.get("content-length") or 0),
        }
        log_request("http", path, status, seconds, trace=trace, facts=facts)
        if self._traces.wants(trace):
            attributes = {
                "http.request.method": request.method,
                "http.route": path,
                "http.response.status_code": status,
                "tidings.request_id": request.state.request_id,
            }
            self._traces.tell(
                Span(
                    name=f"{request.method} {path}",
                    context=trace,
                    kind=SpanKind.SERVER,
                    seconds=seconds,
                    attributes=attributes,
                    is_error=status >= _SERVER_ERROR,
                )
            )

    async def _respond(self, request: Request, answer: Answer, scope: str) -> Response:
        try:
            credential = await self._authenticator.authenticate(
                request.headers.get("authorization"), scope=scope
            )
            request.state.facts.update(asker_facts(credential))
            return await answer(request, credential)
        except (AuthenticationError, ScopeMissingError) as error:
            return error.response()
        except RequestError as error:
            headers = {"Retry-After": "1"} if error.http_status in _LATER else None
            return problem_response(error.problem(), error.http_status, headers)
        except ClientDisconnect:
            return Response(status_code=400)
        except POSTGRES_AWAY as error:
            _log.warning("database_away", extra={"error": repr(error)})
            return problem(503, "The database does not answer now.", {"Retry-After": "2"})
        except Exception:  # noqa: BLE001 - a problem for the client, a stack trace for the log
            _log.exception("request_failed", extra={"path": request.url.path})
            return problem(500, "An error of the server; the log has it under X-Request-Id.")


class _Endpoint:
    """An ASGI application, which Starlette does not wrap: a third of what a small request costs.

    Nothing is lost by it: whatever is raised has been answered with a problem.
    """

    def __init__(self, respond: Callable[[Request], Awaitable[Response]]) -> None:
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)


class PerUser:
    """How many of something each user has going on in this process."""

    def __init__(self, limit: str, count_max: int) -> None:
        self._limit = limit
        self._count_max = count_max
        self._running: Counter[str] = Counter()

    @contextmanager
    def one(self, user_id: str) -> Iterator[None]:
        """Raises RequestError (limit)."""
        if self._running[user_id] >= self._count_max:
            raise limit_exceeded(
                self._limit, f"The user has {self._count_max} under way.", http_status=429
            )
        self._running[user_id] += 1
        try:
            yield
        finally:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]
