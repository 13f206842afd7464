"""What the console's API consists of: one list, of which its routes and its document are made."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Literal, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.console.entrance import Answer, Entrance, Operator
from services.console.refusals import refusal_of
from shared.http.request_line import asker_facts, log_request
from shared.runtime.clock import Clock
from shared.runtime.logs import correlated
from shared.runtime.metrics import Metric, Metrics
from shared.runtime.traces import Traces

_log = logging.getLogger(__name__)

_GOOD_STATUSES = range(200, 400)

OpenAnswer: TypeAlias = Callable[[Request], Awaitable[Response]]


class Parameter(msgspec.Struct, frozen=True):
    """Of a query; `kind` many: may be given again."""

    name: str
    meaning: str
    kind: Literal["text", "number", "many"] = "text"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """`action`: is logged as one; `open_answer`: without a login.

    `goes_on`: the answer itself logs what was begun and how it ended; here only what is refused is.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str  # below /console/api
    name: str
    meaning: str
    answer: Answer | None = None
    open_answer: OpenAnswer | None = None
    parameters: tuple[Parameter, ...] = ()
    body: type[msgspec.Struct] | None = None
    result: type[msgspec.Struct] | None = None
    result_type: str = "application/json"
    status: int = 200
    action: str | None = None
    goes_on: bool = False


class Endpoints:
    """Makes routes: who asks, problems, metrics, the line of the log, the audit of actions."""

    def __init__(self, entrance: Entrance, clock: Clock, metrics: Metrics, traces: Traces) -> None:
        self._entrance = entrance
        self._clock = clock
        self._metrics = metrics
        self._traces = traces

    def routes(self, endpoints: Sequence[Endpoint]) -> list[Route]:
        grouped = groupby(sorted(endpoints, key=_place), key=lambda one: one.path)
        return [self._route(path, {one.method: one for one in group}) for path, group in grouped]

    def _route(self, path: str, by_method: dict[str, Endpoint]) -> Route:
        async def respond(request: Request) -> Response:
            method = "GET" if request.method == "HEAD" else request.method
            return await self._respond(request, by_method[method])

        return Route(f"/api{path}", respond, methods=list(by_method))

    async def _respond(self, request: Request, endpoint: Endpoint) -> Response:
        request_id = secrets.token_hex(8)
        trace = self._traces.received(request.headers.get("traceparent"))
        begun = self._clock.monotonic()
        with correlated(request_id=request_id):
            request.state.facts = {"http_method": request.method}
            request.state.request_id = request_id
            request.state.target = str(request.path_params.get("id", ""))[:200]
            response = await self._answer(request, endpoint)
            route, status = f"/console/api{endpoint.path}", response.status_code
            seconds = self._clock.monotonic() - begun
            self._metrics.count(Metric.HTTP_REQUESTS, route=route, status=str(status))
            self._metrics.observe(Metric.HTTP_REQUEST_SECONDS, seconds, route=route)
            log_request("http", route, status, seconds, trace=trace, facts=request.state.facts)
        response.headers["X-Request-Id"] = request_id
        return response

    async def _answer(self, request: Request, endpoint: Endpoint) -> Response:
        operator: Operator | None = None
        try:
            if endpoint.open_answer is not None:
                return await endpoint.open_answer(request)
            assert endpoint.answer is not None  # noqa: S101 - one of both
            operator = await self._entrance.operator(request)
            request.state.facts.update(asker_facts(operator.credential))
            response = await endpoint.answer(request, operator)
        except Exception as error:  # noqa: BLE001 - a problem for who asks
            response = refusal_of(error)
        is_over = response.status_code not in _GOOD_STATUSES or not endpoint.goes_on
        if endpoint.action is not None and operator is not None and is_over:
            audit(operator, endpoint.action, request.state.target, _outcome(response))
        return response


def audit(operator: Operator, action: str, target: str, outcome: str) -> None:
    """The line that says who did what, to what, and whether it was done."""
    _log.info(
        "console_action",
        extra={
            **asker_facts(operator.credential),
            "user_name": operator.credential.user_name,
            "action": action,
            "target": target,
            "outcome": outcome,
        },
    )


def _outcome(response: Response) -> str:
    status = response.status_code
    return "done" if status in _GOOD_STATUSES else f"refused with {status}"


def _place(endpoint: Endpoint) -> tuple[bool, str]:
    """Paths without a variable first, which would match them too."""
    return "{" in endpoint.path, endpoint.path
