"""What an answer of the console may raise, and the problem that is answered instead."""

import logging
from collections.abc import Mapping

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from shared.bus.connection import BusUnavailableError
from shared.bus.jetstream import JetStreamError
from shared.http.authentication import AuthenticationError, ScopeMissingError
from shared.http.problem_details import problem
from shared.operate.event_range import RangeError
from shared.operate.gateways import (
    GatewayBusyError,
    GatewaySilentError,
    NoGatewayError,
    RefusedByGatewayError,
    UnknownConnectionError,
)
from shared.store.lane_admin import UnknownSubscriptionError
from shared.store.people import UnknownNameError
from shared.store.pool import POSTGRES_AWAY

_log = logging.getLogger(__name__)

RETRY_SECONDS = "2"


class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    """Is answered as problem details."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers


_NOT_NOW = 503
_RETRY = {"Retry-After": RETRY_SECONDS}
_IN_ITS_WORDS = (  # the first that fits: who is busy refuses, and who is silent is not known
    ((GatewayBusyError, GatewaySilentError), _NOT_NOW),
    ((RangeError, RefusedByGatewayError), 400),
    ((UnknownNameError, UnknownSubscriptionError, UnknownConnectionError), 404),
)


def refusal_of(error: Exception) -> Response:
    """What nobody foresaw is 500, with its stack in the log."""
    if isinstance(error, Refusal):
        return problem(error.status, str(error), error.headers)
    if isinstance(error, AuthenticationError | ScopeMissingError):
        return error.response()
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)
    for kinds, status in _IN_ITS_WORDS:
        if isinstance(error, kinds):
            return problem(status, _sentence(error), _RETRY if status == _NOT_NOW else None)
    if (what := _away(error)) is not None:
        return problem(503, f"{what} does not answer now.", _RETRY)
    _log.error("request_failed", exc_info=error)
    return problem(500, "An error of the server; the log has it under X-Request-Id.")


def _away(error: Exception) -> str | None:
    if isinstance(error, NoGatewayError):
        return "A gateway"
    if isinstance(error, BusUnavailableError | JetStreamError):
        return "NATS"
    return "The database" if isinstance(error, POSTGRES_AWAY) else None


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
