"""The canonical log line of a request: one each, when it was answered, whichever way it came.

Probes (`/health/…`, `/metrics`) have none: they say every few seconds that nothing happened.
"""

import logging
from collections.abc import Mapping
from typing import Literal

from shared.runtime.logs import log_facts
from shared.runtime.trace_context import TraceContext
from shared.store.credentials import Credential

_log = logging.getLogger(__name__)

Transport = Literal["http", "websocket", "nats"]


def log_request(
    transport: Transport,
    route: str,
    status: int,
    seconds: float,
    *,
    trace: TraceContext | None,
    facts: Mapping[str, object],
) -> None:
    """`route` is a template, or a subject of NATS; never a path, which may hold an id or a ticket.

    `facts` are `asker_facts` and what else there is; the caller has set the `request_id`.
    """
    log_facts(
        _log,
        "request",
        {
            "transport": transport,
            "route": route,
            "status": status,
            "milliseconds": round(seconds * 1000, 3),
            "trace_id": None if trace is None else trace.trace_id,
            **facts,
        },
    )


def asker_facts(credential: Credential) -> dict[str, object]:
    return {"user_id": credential.user_id, "credential_id": credential.id}
