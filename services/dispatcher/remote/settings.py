"""Settings of calls to method services."""

from typing import Annotated

import msgspec
from msgspec import Meta

METHOD_SERVICE_PREFIX = "TIDINGS_METHOD_SERVICE_"


class MethodServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_METHOD_SERVICE_*: calls to method services."""

    timeout_seconds: Annotated[float, Meta(gt=0, le=50)] = 10  # of one call; a WebSocket waits 60
    calls_max: Annotated[int, Meta(ge=1, le=10_000)] = 32
    """Under way at each service. Below the requests that a dispatcher takes at once from the
    gateways (64), so that one slow service never holds all of them."""
    answer_octets_max: Annotated[int, Meta(ge=1024, le=64_000_000)] = 10_000_000  # of one answer
    log_seconds: Annotated[float, Meta(ge=0, le=30)] = 2  # an answer waits for the log, at most
